import https from "node:https";
import { pathToFileURL } from "node:url";
import { assert, configuration, refuses, report, works } from "./harness.mjs";

const file = `${process.env.CLIENT_MODULES}/node_modules/dataverse-webapi/lib/node.js`;
const { default: api } = await import(pathToFileURL(file));
const { tls_url, accounts, contact, team, person } = configuration;
// The library asks for no port of its own.
const { hostname, port } = new URL(tls_url);
https.globalAgent.defaultPort = Number(port);
const crm = () => {
  const config = new api.WebApiConfig("9.2", "any", `https://${hostname}`);
  config.url = `https://${hostname}/api/data/v9.2`;
  return config;
};
const [A1, A2] = accounts;
const held = {};
const fetchXml = (inner, attributes = "") => `?fetchXml=${encodeURIComponent(`<fetch ${attributes}><entity name="account">${inner}</entity></fetch>`)}`;
const sql = (text) => `?sql=${encodeURIComponent(text)}`;
const rows = async (set, query, options) => (await api.retrieveMultiple(crm(), set, query, options)).value;
const filtered = (condition) => rows("accounts", `$select=name&$filter=${encodeURIComponent(condition)}`);

works("create", async () => {
  held.id = await api.create(crm(), "accounts", { name: "New", revenue: 5 });
  assert.match(held.id, /^[0-9a-f-]{36}$/);
});
works("create with a bind", async () => {
  held.contact = await api.create(crm(), "contacts", { lastname: "Bound", "parentcustomerid_account@odata.bind": `/accounts(${A1})` });
});
works("create with related rows", async () => {
  held.deep = await api.create(crm(), "accounts", { name: "deep", Account_Tasks: [{ subject: "child" }] });
});
works("create with existing members of a collection", async () => {
  const task = await api.create(crm(), "tasks", { subject: "joins" });
  await api.create(crm(), "accounts", { name: "with members", "Account_Tasks@odata.bind": [`/tasks(${task})`] });
});
works("createWithReturnData", async () => {
  const made = await api.createWithReturnData(crm(), "tasks", { subject: "t" }, "$select=subject");
  assert.equal(made.subject, "t");
  held.task = made.activityid;
});
works("createWithReturnData with expand", async () => {
  const bind = { "regardingobjectid_account_task@odata.bind": `/accounts(${A1})` };
  const made = await api.createWithReturnData(crm(), "tasks", { subject: "e", ...bind }, "$select=subject&$expand=regardingobjectid_account_task($select=name)");
  assert.equal(made.regardingobjectid_account_task.name, "Account 1");
});
works("create as somebody else", async () => {
  const made = await api.createWithReturnData(crm(), "accounts", { name: "i" }, "$select=_createdby_value", { customHeaders: { MSCRMCallerID: person } });
  assert.equal(made._createdby_value, person);
});
refuses("create as an unknown object id", "403, as the service", "not a member", () =>
  api.create(crm(), "accounts", { name: "i" }, { impersonateUserId: "00000000-0000-0000-0000-000000000009" }));
works("create with duplicate detection", () =>
  api.create(crm(), "accounts", { name: "d" }, { customHeaders: { "MSCRM.SuppressDuplicateDetection": "false" } }));
refuses("create with a text that is too long", "the service's own limit", "maximum allowed length", () => api.create(crm(), "accounts", { name: "x".repeat(161) }));
refuses("create with an unknown column", "the service's own refusal", "Invalid property 'nosuch'", () => api.create(crm(), "accounts", { nosuch: 1 }));
refuses("create with a value of another type", "the service's own refusal", "Cannot convert the literal", () => api.create(crm(), "accounts", { revenue: "much" }));
works("retrieve", async () => assert.equal((await api.retrieve(crm(), "accounts", held.id)).name, "New"));
works("retrieve with select", async () => assert.equal((await api.retrieve(crm(), "accounts", A1, "$select=accountnumber")).accountnumber, "A00001"));
works("retrieve with expand", async () => {
  const row = await api.retrieve(crm(), "contacts", contact, "$select=fullname&$expand=parentcustomerid_account($select=name)");
  assert.equal(row.parentcustomerid_account.name, "Account 1");
});
works("retrieve with a nested expand", async () => {
  const row = await api.retrieve(crm(), "contacts", contact, "$expand=parentcustomerid_account($expand=createdby($select=fullname))");
  assert.equal(row.parentcustomerid_account.createdby.fullname, "SYSTEM");
});
works("retrieve with an expanded reference", async () => {
  const row = await api.retrieve(crm(), "contacts", contact, "$select=fullname&$expand=parentcustomerid_account/$ref");
  assert.match(row.parentcustomerid_account["@odata.id"], new RegExp(`accounts\\(${A1}\\)$`));
});
works("retrieve with formatted values", async () => {
  const row = await api.retrieve(crm(), "accounts", held.id, "$select=revenue");
  assert.equal(row["revenue@OData.Community.Display.V1.FormattedValue"], "$5.00");
});
works("retrieveAlternateKey", async () => assert.equal((await api.retrieveAlternateKey(crm(), "accounts", "accountnumber='A00002'")).accountid, A2));
refuses("retrieveAlternateKey of a key that is none", "the service's own refusal", "The key in the request URI is not valid", () => api.retrieveAlternateKey(crm(), "accounts", "name='x'"));
refuses("retrieve what is not there", "404, as the service", "Does Not Exist", () => api.retrieve(crm(), "accounts", "00000000-0000-0000-0000-000000000009"));
works("retrieveMultiple", async () => assert.ok((await rows("accounts")).length >= 10));
works("retrieveMultiple with filter", async () => assert.equal((await filtered("accountnumber eq 'A00003'")).length, 1));
works("filter contains", async () => assert.equal((await filtered("contains(name,'Account 1')")).length, 2));
works("filter startswith", async () => assert.equal((await filtered("startswith(name,'Account')")).length, 10));
works("filter endswith", async () => assert.equal((await filtered("endswith(name,'9')")).length, 1));
works("filter not", async () => assert.ok((await filtered("not contains(name,'Account')")).length >= 3));
works("filter and, or, brackets", async () => assert.equal((await filtered("(accountnumber eq 'A00001' or accountnumber eq 'A00002') and name ne 'Account 1'")).length, 1));
works("filter null", async () => assert.ok((await filtered("accountnumber eq null")).length >= 3));
works("filter over a lookup", async () => assert.equal((await rows("contacts", "$filter=parentcustomerid_account/name eq 'Account 1'")).length, 2));
works("filter any", async () => assert.equal((await filtered("Account_Tasks/any(t:t/subject eq 'child')")).length, 1));
works("filter all", async () => assert.ok((await filtered("Account_Tasks/all(t:t/subject eq 'child')")).length >= 1));
works("filter In", async () => assert.equal((await filtered(`Microsoft.Dynamics.CRM.In(PropertyName='accountnumber',PropertyValues=["A00001","A00002"])`)).length, 2));
works("filter Between", async () => assert.equal((await filtered(`Microsoft.Dynamics.CRM.Between(PropertyName='revenue',PropertyValues=["1","9"])`)).length, 1));
works("filter Today", async () => assert.ok((await filtered("Microsoft.Dynamics.CRM.Today(PropertyName='createdon')")).length >= 10));
works("filter OlderThanXDays", async () => assert.equal((await filtered("Microsoft.Dynamics.CRM.OlderThanXDays(PropertyName='createdon',PropertyValue=3)")).length, 0));
works("filter EqualUserId", async () => assert.ok((await filtered("Microsoft.Dynamics.CRM.EqualUserId(PropertyName='_ownerid_value')")).length >= 1));
refuses("filter Under", "there are no hierarchies", "it has no hierarchies", () => filtered(`Microsoft.Dynamics.CRM.Under(PropertyName='accountid',PropertyValue='${A1}')`));
refuses("filter by a lookup's logical name", "documented: `_name_value` is the property", "Could not find a property named 'primarycontactid'", () => filtered(`primarycontactid eq ${contact}`));
refuses("filter with year()", "the service has no such function", "a property was expected", () => filtered("year(createdon) eq 2026"));
works("orderby and top", async () => assert.equal((await rows("accounts", "$select=name&$orderby=name desc&$top=2")).length, 2));
works("count", async () => assert.equal((await api.retrieveMultiple(crm(), "contacts", "$count=true"))["@odata.count"], 2));
works("totals as annotations", async () => assert.equal((await api.retrieveMultiple(crm(), "contacts", "$count=true"))["@Microsoft.Dynamics.CRM.totalrecordcount"], 2));
works("apply", async () => assert.ok((await rows("accounts", "$apply=aggregate(revenue with sum as total)"))[0].total >= 5));
works("expand of a collection with options", async () => {
  const [row] = await rows("accounts", `$filter=accountid eq ${held.deep}&$select=name&$expand=Account_Tasks($select=subject;$filter=subject eq 'child';$orderby=subject;$top=1)`);
  assert.equal(row.Account_Tasks[0].subject, "child");
});
refuses("skip", "the service has no $skip", "'$skip' is not supported", () => rows("accounts", "$skip=2"));
works("pages, and retrieveMultipleNextPage", async () => {
  const first = await api.retrieveMultiple(crm(), "accounts", "$select=name", { maxPageSize: 3 });
  assert.equal(first.value.length, 3);
  const next = first["@odata.nextLink"].replace(`:${port}`, "");
  const second = await api.retrieveMultipleNextPage(crm(), next, { maxPageSize: 3 }).catch((error) => error);
  held.second = second;
});
works("FetchXML", async () => assert.equal((await rows("accounts", fetchXml('<attribute name="name"/>', 'top="3"'))).length, 3));
works("FetchXML with a cookie", async () => assert.ok((await api.retrieveMultiple(crm(), "accounts", fetchXml('<attribute name="name"/>', 'count="3"')))["@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"]));
works("FetchXML with an outer join", async () => {
  const found = await rows("accounts", fetchXml('<attribute name="name"/><filter><condition entityname="c" attribute="contactid" operator="null"/></filter><link-entity name="contact" from="parentcustomerid" to="accountid" link-type="outer" alias="c"/>'));
  assert.ok(found.length >= 9);
});
works("FetchXML with groups", async () => {
  const found = await rows("accounts", fetchXml('<attribute name="accountid" aggregate="count" alias="n"/><attribute name="statecode" groupby="true" alias="state"/>', 'aggregate="true"'));
  assert.equal(found[0].state, 0);
});
refuses("FetchXML over retained rows", "there is no long-term retention", "there is no long-term retention here", () => rows("accounts", fetchXml('<attribute name="name"/>', 'datasource="retained"')));
works("SQL", async () => assert.equal((await rows("accounts", sql("SELECT name FROM account WHERE accountnumber = 'A00001'"))).length, 1));
works("SQL with a join", async () => assert.equal((await rows("accounts", sql("SELECT a.name, c.lastname AS who FROM account AS a INNER JOIN contact AS c ON a.accountid = c.parentcustomerid"))).length, 2));
works("SQL with GROUP BY", async () => assert.ok((await rows("accounts", sql("SELECT statecode, COUNT(*) AS n FROM account GROUP BY statecode")))[0].n >= 10));
refuses("SQL with *", "documented: each column is named", "SELECT * is not supported", () => rows("accounts", sql("SELECT * FROM account")));
works("update", () => api.update(crm(), "accounts", held.id, { name: "Changed" }));
works("updateWithReturnData", async () => assert.equal((await api.updateWithReturnData(crm(), "accounts", held.id, { name: "Again" }, "$select=name")).name, "Again"));
works("updateProperty", () => api.updateProperty(crm(), "accounts", held.id, "name", "Single"));
refuses("update under a stale etag", "412, as the service", "RowVersion", () => api.update(crm(), "accounts", held.id, { name: "x" }, { customHeaders: { "If-Match": 'W/"1"' } }));
works("update only what is there", () => api.update(crm(), "accounts", held.id, { name: "x" }, { customHeaders: { "If-Match": "*" } }));
works("associate, one to many", () => api.associate(crm(), "accounts", A2, "Account_Tasks", "tasks", held.task));
works("disassociate, one to many", () => api.disassociate(crm(), "accounts", A2, "Account_Tasks", held.task));
works("associate, many to many", () => api.associate(crm(), "teams", team, "teammembership_association", "systemusers", person));
works("disassociate, many to many", () => api.disassociate(crm(), "teams", team, "teammembership_association", person));
works("disassociate of a lookup", () => api.disassociate(crm(), "contacts", held.contact, "parentcustomerid_account"));
works("unboundFunction WhoAmI", async () => assert.ok((await api.unboundFunction(crm(), "WhoAmI")).UserId));
works("unboundFunction with parameters", async () => {
  const found = await api.unboundFunction(crm(), "RetrieveTotalRecordCount", [{ name: "EntityNames", alias: "names", value: "['contact']" }]);
  assert.deepEqual(found.EntityRecordCountCollection.Values, [2]);
});
refuses("unboundFunction that is not built", "501", "has not built the function", () => api.unboundFunction(crm(), "RetrieveCurrentOrganization", [{ name: "AccessType", value: "Microsoft.Dynamics.CRM.EndpointAccessType'Default'" }]));
works("boundFunction", async () => assert.ok((await api.boundFunction(crm(), "systemusers", person, "RetrieveUserPrivileges")).RolePrivileges.length));
refuses("boundFunction that is not built", "501: RetrieveUserPrivileges is the only one", "has not built the message", () => api.boundFunction(crm(), "systemusers", person, "RetrieveAllChildUsersSystemUser"));
refuses("unboundAction", "404: no such action is built", "Resource not found", () => api.unboundAction(crm(), "WinOpportunity", { Status: 3 }));
refuses("boundAction", "501: no action bound to a record is built", "has not built the message", () => api.boundAction(crm(), "accounts", A1, "AddToQueue", {}));
refuses("batchOperation", "it ends its batch without a line end, which the service documents as unreadable", "Stream was not readable", () =>
  api.batchOperation(crm(), "b", "c", [{ method: "POST", queryString: "accounts", entity: { name: "b" } }], []));
works("batchOperation, where the switch batch_end lets it end so", async () => {
  const turn = (value) => fetch(`${configuration.base_url}/_control/switches`, { method: "PUT", body: JSON.stringify({ batch_end: value }) });
  await turn("lenient");
  const [made, row] = await api.batchOperation(crm(), "b", "c", [{ method: "POST", queryString: "accounts", entity: { name: "b" } }], [`accounts(${A1})?$select=name`]);
  await turn("strict");
  assert.equal(made.httpStatus, 204);
  assert.equal(row.data.name, "Account 1");
});
works("deleteProperty of a column", () => api.deleteProperty(crm(), "accounts", held.id, "revenue"));
works("deleteRecord", () => api.deleteRecord(crm(), "accounts", held.id));

await report();
