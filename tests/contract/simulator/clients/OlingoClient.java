import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import org.apache.olingo.client.api.ODataClient;
import org.apache.olingo.client.api.communication.request.batch.BatchManager;
import org.apache.olingo.client.api.communication.request.batch.ODataBatchRequest;
import org.apache.olingo.client.api.communication.request.batch.ODataBatchResponseItem;
import org.apache.olingo.client.api.communication.request.batch.ODataChangeset;
import org.apache.olingo.client.api.communication.request.cud.ODataEntityCreateRequest;
import org.apache.olingo.client.api.communication.request.cud.ODataEntityUpdateRequest;
import org.apache.olingo.client.api.communication.request.cud.UpdateType;
import org.apache.olingo.client.api.communication.request.retrieve.ODataEntityRequest;
import org.apache.olingo.client.api.communication.request.retrieve.ODataEntitySetRequest;
import org.apache.olingo.client.api.communication.response.ODataEntityCreateResponse;
import org.apache.olingo.client.api.domain.ClientEntity;
import org.apache.olingo.client.api.domain.ClientEntitySet;
import org.apache.olingo.client.api.domain.ClientObjectFactory;
import org.apache.olingo.client.api.domain.ClientPrimitiveValue;
import org.apache.olingo.client.api.uri.QueryOption;
import org.apache.olingo.client.api.uri.URIBuilder;
import org.apache.olingo.client.core.ODataClientFactory;
import org.apache.olingo.commons.api.edm.Edm;
import org.apache.olingo.commons.api.edm.EdmEntityType;
import org.apache.olingo.commons.api.edm.FullQualifiedName;
import org.apache.olingo.commons.api.format.ContentType;

/** Named operations of Apache Olingo's client, in order; what became of each is a line of JSON. */
public class OlingoClient {
  interface Run {
    void run() throws Exception;
  }

  static final ODataClient client = ODataClientFactory.getClient();
  static final ClientObjectFactory make = client.getObjectFactory();
  static String root, a1, a2, contact, team, person;
  static UUID id, task;
  static String etag;
  static Edm edm;

  static void line(String name, boolean good, String said, String reason) {
    System.out.println("{\"name\":" + json(name) + ",\"good\":" + good + ",\"said\":" + json(said) + ",\"reason\":" + json(reason) + "}");
  }

  static String json(String text) {
    if (text == null) return "null";
    StringBuilder out = new StringBuilder("\"");
    for (char letter : text.toCharArray()) {
      if (letter == '"' || letter == '\\') out.append('\\').append(letter);
      else if (letter < 32) out.append(String.format("\\u%04x", (int) letter));
      else out.append(letter);
    }
    return out.append('"').toString();
  }

  static String attempt(Run run) {
    try {
      run.run();
      return null;
    } catch (Throwable error) {
      StringBuilder said = new StringBuilder();
      for (Throwable at = error; at != null; at = at.getCause()) said.append(at).append(" / ");
      return said.toString();
    }
  }

  static void works(String name, Run run) {
    String said = attempt(run);
    line(name, said == null, said, null);
  }

  static void refuses(String name, String reason, String says, Run run) {
    String said = attempt(run);
    line(name, said != null && said.contains(says), said, reason);
  }

  static void check(boolean holds) {
    if (!holds) throw new AssertionError("not as expected");
  }

  static URIBuilder uri(String set) {
    return client.newURIBuilder(root).appendEntitySetSegment(set);
  }

  static URIBuilder record(String set, Object key) {
    return uri(set).appendKeySegment(key instanceof String ? UUID.fromString((String) key) : key);
  }

  static ClientEntity get(URI uri) {
    return client.getRetrieveRequestFactory().getEntityRequest(uri).execute().getBody();
  }

  static ClientEntitySet list(URI uri) {
    return client.getRetrieveRequestFactory().getEntitySetRequest(uri).execute().getBody();
  }

  static int filtered(String condition) {
    return list(uri("accounts").select("name").filter(condition).build()).getEntities().size();
  }

  static ClientEntity entity(String table, Object... pairs) {
    ClientEntity made = make.newEntity(new FullQualifiedName("Microsoft.Dynamics.CRM." + table));
    for (int at = 0; at < pairs.length; at += 2) {
      ClientPrimitiveValue.Builder builder = make.newPrimitiveValueBuilder();
      Object value = pairs[at + 1];
      ClientPrimitiveValue built = value instanceof Integer ? builder.buildInt32((Integer) value)
          : value instanceof Boolean ? builder.buildBoolean((Boolean) value) : builder.buildString((String) value);
      made.getProperties().add(make.newPrimitiveProperty((String) pairs[at], built));
    }
    return made;
  }

  static String text(ClientEntity entity, String name) {
    return entity.getProperty(name).getPrimitiveValue().toString();
  }

  static ClientEntity create(String set, ClientEntity body) {
    ODataEntityCreateRequest<ClientEntity> request = client.getCUDRequestFactory().getEntityCreateRequest(uri(set).build(), body);
    // What newPreferences().returnContent() sends is no preference of the protocol: "return" without a value.
    request.setPrefer("return=representation");
    return request.execute().getBody();
  }

  static UUID key(ClientEntity entity, String name) {
    return UUID.fromString(text(entity, name));
  }

  static int patch(URI uri, ClientEntity body, String match) {
    ODataEntityUpdateRequest<ClientEntity> request = client.getCUDRequestFactory().getEntityUpdateRequest(uri, UpdateType.PATCH, body);
    if (match != null) request.setIfMatch(match);
    return request.execute().getStatusCode();
  }

  public static void main(String[] arguments) {
    root = arguments[0];
    a1 = arguments[1];
    a2 = arguments[2];
    contact = arguments[3];
    team = arguments[4];
    person = arguments[5];

    // Its own default is odata.metadata=full.
    client.getConfiguration().setDefaultPubFormat(ContentType.JSON);

    works("service document", () -> check(client.getRetrieveRequestFactory().getServiceDocumentRequest(root).execute().getBody().getEntitySetNames().contains("accounts")));
    works("metadata document", () -> edm = client.getRetrieveRequestFactory().getMetadataRequest(root).execute().getBody());
    works("metadata: an entity type and its properties", () -> check(edm.getEntityType(fqn("account")).getPropertyNames().contains("name")));
    works("metadata: what an activity inherits", () -> check(edm.getEntityType(fqn("phonecall")).getPropertyNames().contains("subject")));
    works("metadata: the principal behind a user", () -> check(edm.getEntityType(fqn("systemuser")).getBaseType().getName().equals("principal")));
    works("metadata: the key that a user inherits", () -> check(edm.getEntityType(fqn("systemuser")).getKeyPredicateNames().contains("ownerid")));
    works("metadata: a navigation property and its partner", () -> check(edm.getEntityType(fqn("task")).getNavigationProperty("regardingobjectid_account_task").getPartner() != null));
    works("metadata: a many-to-many navigation property", () -> check(edm.getEntityType(fqn("team")).getNavigationProperty("teammembership_association").isCollection()));
    works("metadata: the binding of a set", () -> check(edm.getEntityContainer().getEntitySet("contacts").getRelatedBindingTarget("parentcustomerid_account").getName().equals("accounts")));
    works("metadata: a function", () -> check(edm.getUnboundFunctions(fqn("WhoAmI")).size() == 1));
    works("metadata: a function import", () -> check(edm.getEntityContainer().getFunctionImport("WhoAmI") != null));
    works("metadata: an action", () -> check(edm.getUnboundAction(fqn("BulkDelete")) != null));
    works("metadata: a query function and its parameters", () -> check(edm.getUnboundFunctions(fqn("Between")).get(0).getParameterNames().contains("PropertyValues")));
    works("metadata: every type resolves", () -> {
      for (EdmEntityType type : edm.getSchema("Microsoft.Dynamics.CRM").getEntityTypes())
        for (String name : type.getNavigationPropertyNames()) check(type.getNavigationProperty(name).getType() != null);
    });

    works("create", () -> id = key(create("accounts", entity("account", "name", "New", "accountnumber", "N1")), "accountid"));
    works("create without the row in return", () -> {
      ODataEntityCreateResponse<ClientEntity> reply = client.getCUDRequestFactory().getEntityCreateRequest(uri("accounts").build(), entity("account", "name", "quiet")).execute();
      check(reply.getStatusCode() == 204);
    });
    works("create with numbers and booleans", () -> create("accounts", entity("account", "name", "n", "numberofemployees", 5, "creditonhold", true)));
    works("create with a bound lookup", () -> {
      ClientEntity body = entity("task", "subject", "bound");
      body.addLink(make.newEntityNavigationLink("regardingobjectid_account_task", record("accounts", a1).build()));
      task = key(create("tasks", body), "activityid");
    });
    works("create with related rows inline", () -> {
      ClientEntity body = entity("account", "name", "deep");
      ClientEntitySet children = make.newEntitySet();
      children.getEntities().add(entity("task", "subject", "child"));
      body.addLink(make.newDeepInsertEntitySet("Account_Tasks", children));
      create("accounts", body);
    });
    refuses("create with a text that is too long", "the service's own limit", "maximum allowed length", () -> create("accounts", entity("account", "name", "x".repeat(161))));
    refuses("create with an unknown property", "the service's own refusal", "Invalid property", () -> create("accounts", entity("account", "nosuch", "x")));
    refuses("create with a value of another type", "the service's own refusal", "Cannot convert the literal", () -> create("accounts", entity("account", "numberofemployees", "many")));

    works("read one record", () -> check(text(get(record("accounts", id).build()), "name").equals("New")));
    works("read with $select", () -> check(get(record("accounts", a1).select("name").build()).getProperties().size() == 2));
    works("read the etag", () -> check((etag = get(record("accounts", id).build()).getETag()) != null));
    works("read by alternate key", () -> {
      Map<String, Object> key = new LinkedHashMap<>();
      key.put("accountnumber", "A00002");
      check(text(get(uri("accounts").appendKeySegment(key).build()), "accountid").equals(a2));
    });
    works("read with $expand of a lookup", () -> check(get(record("contacts", contact).expand("parentcustomerid_account").build()).getProperty("parentcustomerid_account") != null));
    works("read with $expand and $select in it", () -> {
      Map<QueryOption, Object> options = new LinkedHashMap<>();
      options.put(QueryOption.SELECT, "name");
      check(get(record("contacts", contact).expandWithOptions("parentcustomerid_account", options).build()) != null);
    });
    works("read with $expand of a collection, filtered and ordered", () -> {
      Map<QueryOption, Object> options = new LinkedHashMap<>();
      options.put(QueryOption.FILTER, "subject eq 'bound'");
      options.put(QueryOption.ORDERBY, "subject desc");
      check(get(record("accounts", a1).expandWithOptions("Account_Tasks", options).build()) != null);
    });
    works("read the row behind a lookup", () -> check(text(get(record("contacts", contact).appendNavigationSegment("parentcustomerid_account").build()), "accountid").equals(a1)));
    works("read the row behind a lookup that has its column's name", () -> {
      URI place = record("accounts", a2).appendNavigationSegment("primarycontactid").appendRefSegment().build();
      client.getCUDRequestFactory().getReferenceSingleChangeRequest(URI.create(root), place, record("contacts", contact).build()).execute();
      check(text(get(record("accounts", a2).appendNavigationSegment("primarycontactid").select("fullname").build()), "fullname").equals("Kim Contact"));
    });
    works("read a collection of a record", () -> check(list(record("accounts", a1).appendNavigationSegment("Account_Tasks").build()).getEntities().size() == 1));
    works("read a member of a collection", () -> check(text(get(record("accounts", a1).appendNavigationSegment("Account_Tasks").appendKeySegment(task).build()), "subject").equals("bound")));
    works("count a collection", () -> check(count(record("accounts", a1).appendNavigationSegment("Account_Tasks").count().build()).equals("1")));
    works("read one property", () -> check(client.getRetrieveRequestFactory().getPropertyRequest(record("accounts", a1).appendPropertySegment("name").build()).execute().getBody().getPrimitiveValue().toString().equals("Account 1")));
    works("read the raw value of a property", () -> check(client.getRetrieveRequestFactory().getPropertyValueRequest(record("accounts", a1).appendPropertySegment("name").appendValueSegment().build()).execute().getBody().toString().equals("Account 1")));
    works("read one property of the row behind a lookup", () -> check(client.getRetrieveRequestFactory().getPropertyRequest(record("contacts", contact).appendNavigationSegment("parentcustomerid_account").appendPropertySegment("name").build()).execute().getBody().getPrimitiveValue().toString().equals("Account 1")));
    refuses("read what is not there", "404, as the service", "Does Not Exist", () -> get(record("accounts", "00000000-0000-0000-0000-000000000009").build()));
    refuses("read a set that is not there", "404, as the service", "Resource not found", () -> list(uri("nosuchs").build()));
    refuses("read with full metadata", "minimal and no metadata are answered", "415", () -> {
      ODataEntityRequest<ClientEntity> request = client.getRetrieveRequestFactory().getEntityRequest(record("accounts", a1).build());
      request.setAccept("application/json;odata.metadata=full");
      request.execute();
    });

    works("list", () -> check(list(uri("accounts").build()).getEntities().size() >= 10));
    works("list with an iterator", () -> {
      Iterator<ClientEntity> rows = client.getRetrieveRequestFactory().getEntitySetIteratorRequest(uri("accounts").build()).execute().getBody();
      check(rows.hasNext());
    });
    works("list with $count", () -> check(list(uri("contacts").count(true).build()).getCount() == 1));
    works("count a set", () -> check(Integer.parseInt(count(uri("accounts").count().build())) >= 10));
    works("list with $orderby and $top", () -> check(text(list(uri("accounts").orderBy("name asc").top(1).build()).getEntities().get(0), "name").equals("Account 1")));
    works("list in pages", () -> {
      ODataEntitySetRequest<ClientEntitySet> request = client.getRetrieveRequestFactory().getEntitySetRequest(uri("accounts").select("name").build());
      request.setPrefer(client.newPreferences().maxPageSize(3));
      ClientEntitySet page = request.execute().getBody();
      check(page.getEntities().size() == 3);
      check(list(page.getNext()).getEntities().size() > 0);
    });
    works("filter eq", () -> check(filtered("accountnumber eq 'A00001'") == 1));
    works("filter ne and gt", () -> check(filtered("accountnumber ne 'A00001' and accountnumber gt 'A00008'") >= 2));
    works("filter or, not, brackets", () -> check(filtered("(accountnumber eq 'A00001' or accountnumber eq 'A00002') and not contains(name,'2')") == 1));
    works("filter contains, startswith, endswith", () -> check(filtered("contains(name,'ccount') and startswith(name,'A') and endswith(name,'7')") == 1));
    works("filter null", () -> check(filtered("accountnumber eq null") >= 3));
    works("filter a time", () -> check(filtered("createdon gt 2020-01-01T00:00:00Z") >= 10));
    works("filter a guid", () -> check(filtered("accountid eq " + a1) == 1));
    works("filter over a lookup", () -> check(list(uri("contacts").filter("parentcustomerid_account/name eq 'Account 1'").build()).getEntities().size() == 1));
    works("filter any", () -> check(filtered("Account_Tasks/any(t:t/subject eq 'child')") == 1));
    works("filter all", () -> check(filtered("Account_Tasks/all(t:t/subject eq 'child')") >= 10));
    works("filter built by the client's factory", () -> check(list(uri("accounts").filter(client.getFilterFactory().eq("name", "Account 3")).build()).getEntities().size() == 1));
    works("filter with a query function", () -> check(filtered("Microsoft.Dynamics.CRM.LastXDays(PropertyName='createdon',PropertyValue=2)") >= 10));
    works("$apply", () -> check(list(uri("accounts").addCustomQueryOption("$apply", "groupby((statuscode),aggregate($count as n))").build()).getEntities().size() == 1));
    works("FetchXML", () -> check(list(uri("accounts").addCustomQueryOption("fetchXml", "<fetch top='2'><entity name='account'><attribute name='name'/></entity></fetch>").build()).getEntities().size() == 2));
    works("SQL", () -> check(list(uri("accounts").addCustomQueryOption("sql", "SELECT name FROM account WHERE accountnumber = 'A00001'").build()).getEntities().size() == 1));
    works("references of a collection", () -> check(raw(record("accounts", a1).appendNavigationSegment("Account_Tasks").appendRefSegment().build()).contains("@odata.id")));
    refuses("$skip", "the service has no $skip", "'$skip' is not supported", () -> list(uri("accounts").skip(2).build()));
    refuses("$search", "the service has no $search", "'$search' is not supported", () -> list(uri("accounts").search("x").build()));
    refuses("$format", "the service has no $format", "'$format' is not supported", () -> list(uri("accounts").format("json").build()));
    refuses("filter with year()", "the service has no such function", "a property was expected", () -> filtered("year(createdon) eq 2026"));
    refuses("filter with arithmetic", "the service has no arithmetic", "Syntax error", () -> filtered("numberofemployees add 1 eq 2"));

    works("update", () -> check(patch(record("accounts", id).build(), entity("account", "name", "Changed"), null) == 204));
    works("update under the etag", () -> check(patch(record("accounts", id).build(), entity("account", "name", "Again"), get(record("accounts", id).build()).getETag()) == 204));
    refuses("update under a stale etag", "412, as the service", "RowVersion", () -> patch(record("accounts", id).build(), entity("account", "name", "x"), etag));
    works("upsert", () -> check(patch(record("accounts", "00000000-0000-4000-8000-00000000aaaa").build(), entity("account", "name", "upserted"), null) == 204));
    refuses("update of what is not there", "404, as the service", "Does Not Exist", () -> patch(record("accounts", "00000000-0000-4000-8000-00000000bbbb").build(), entity("account", "name", "x"), "*"));
    refuses("PUT of a whole row", "documented for metadata alone", "does not support http method", () -> client.getCUDRequestFactory().getEntityUpdateRequest(record("accounts", id).build(), UpdateType.REPLACE, entity("account", "name", "x")).execute());
    works("update one property", () -> check(client.getCUDRequestFactory().getPropertyPrimitiveValueUpdateRequest(record("accounts", id).appendPropertySegment("name").build(), make.newPrimitiveProperty("value", make.newPrimitiveValueBuilder().buildString("Single"))).execute().getStatusCode() == 204));
    works("delete one property", () -> check(client.getCUDRequestFactory().getDeleteRequest(record("accounts", id).appendPropertySegment("accountnumber").build()).execute().getStatusCode() == 204));
    works("add a reference to a collection", () -> check(client.getCUDRequestFactory().getReferenceAddingRequest(URI.create(root), record("accounts", a2).appendNavigationSegment("Account_Tasks").appendRefSegment().build(), record("tasks", task).build()).execute().getStatusCode() == 204));
    works("add a many-to-many reference", () -> check(client.getCUDRequestFactory().getReferenceAddingRequest(URI.create(root), record("teams", team).appendNavigationSegment("teammembership_association").appendRefSegment().build(), record("systemusers", person).build()).execute().getStatusCode() == 204));
    works("read through many to many", () -> check(list(record("teams", team).appendNavigationSegment("teammembership_association").build()).getEntities().size() == 1));
    works("delete a reference", () -> check(client.getCUDRequestFactory().getDeleteRequest(record("teams", team).appendNavigationSegment("teammembership_association").appendKeySegment(UUID.fromString(person)).appendRefSegment().build()).execute().getStatusCode() == 204));
    works("delete a lookup's reference", () -> check(client.getCUDRequestFactory().getDeleteRequest(record("accounts", a2).appendNavigationSegment("primarycontactid").appendRefSegment().build()).execute().getStatusCode() == 204));
    works("function WhoAmI", () -> check(raw(client.newURIBuilder(root).appendOperationCallSegment("WhoAmI").build()).contains("UserId")));
    refuses("function that is not built", "501", "501", () -> raw(URI.create(root + "/RetrieveCurrentOrganization(AccessType=@p)?@p=1")));
    refuses("batch", "it ends its batch without a line end, which the service documents as unreadable", "400", () -> batch());
    works("batch, where the switch batch_end lets it end so", () -> {
      turn("lenient");
      Iterator<ODataBatchResponseItem> items = batch();
      check(items.next().next().getStatusCode() == 204);
      check(items.next().next().getStatusCode() == 200);
      check(text(get(record("accounts", id).build()), "name").equals("with it"));
      turn("strict");
    });
    works("delete", () -> check(client.getCUDRequestFactory().getDeleteRequest(record("accounts", id).build()).execute().getStatusCode() == 204));
    refuses("delete what is not there", "404, as the service", "Does Not Exist", () -> client.getCUDRequestFactory().getDeleteRequest(record("accounts", id).build()).execute());
    System.exit(0);
  }

  static Iterator<ODataBatchResponseItem> batch() {
    ODataBatchRequest request = client.getBatchRequestFactory().getBatchRequest(root);
    request.setAccept("multipart/mixed");
    BatchManager manager = request.payloadManager();
    ODataChangeset changes = manager.addChangeset();
    changes.addRequest(client.getCUDRequestFactory().getEntityCreateRequest(uri("accounts").build(), entity("account", "name", "in a change set")));
    changes.addRequest(client.getCUDRequestFactory().getEntityUpdateRequest(record("accounts", id).build(), UpdateType.PATCH, entity("account", "name", "with it")));
    manager.addRequest(client.getRetrieveRequestFactory().getEntityRequest(record("accounts", a1).build()));
    return manager.getResponse().getBody();
  }

  static void turn(String value) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(root.replace("/api/data/v9.2", "/_control/switches")))
        .PUT(HttpRequest.BodyPublishers.ofString("{\"batch_end\": \"" + value + "\"}")).header("Content-Type", "application/json").build();
    check(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode() == 200);
  }

  static FullQualifiedName fqn(String name) {
    return new FullQualifiedName("Microsoft.Dynamics.CRM", name);
  }

  static String raw(URI uri) throws Exception {
    return new String(client.getRetrieveRequestFactory().getRawRequest(uri).execute().getRawResponse().readAllBytes(), "UTF-8");
  }

  static String count(URI uri) throws Exception {
    return raw(uri).replace("\uFEFF", "").trim();
  }
}
