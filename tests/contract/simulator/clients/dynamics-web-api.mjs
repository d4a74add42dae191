import { createRequire } from "node:module";
import { assert, configuration, refuses, report, works } from "./harness.mjs";

const { DynamicsWebApi } = createRequire(process.env.CLIENT_MODULES + "/")("dynamics-web-api");
const { base_url: serverUrl, accounts, contact, team, person } = configuration;
const crm = new DynamicsWebApi({ serverUrl, dataApi: { version: "9.2" }, onTokenRefresh: async () => "any" });
const [A1, A2] = accounts;
const held = {};
const CRM = "Microsoft.Dynamics.CRM.";
const fetchXml = (inner, attributes = "") => `<fetch ${attributes}><entity name="account">${inner}</entity></fetch>`;
const label = (text) => ({
  "@odata.type": `${CRM}Label`,
  LocalizedLabels: [{ "@odata.type": `${CRM}LocalizedLabel`, Label: text, LanguageCode: 1033 }],
});

works("create", async () => {
  held.id = await crm.create({ collection: "accounts", data: { name: "New", revenue: 5 } });
  assert.match(held.id, /^[0-9a-f-]{36}$/);
});
works("create with returnRepresentation and select", async () => {
  const made = await crm.create({ collection: "tasks", data: { subject: "t" }, returnRepresentation: true, select: ["subject"] });
  assert.equal(made.subject, "t");
  held.task = made.activityid;
});
works("create with a bind", async () => {
  const bind = { "parentcustomerid_account@odata.bind": `/accounts(${A1})` };
  held.contact = await crm.create({ collection: "contacts", data: { lastname: "Bound", ...bind } });
});
works("create with duplicateDetection left out", async () => {
  await crm.create({ collection: "accounts", data: { name: "d" } });
});
works("create with duplicateDetection", () =>
  crm.create({ collection: "accounts", data: { name: "d" }, duplicateDetection: true }));
works("create with bypassCustomPluginExecution", () =>
  crm.create({ collection: "accounts", data: { name: "b" }, bypassCustomPluginExecution: true }));
works("create as somebody else (impersonate)", async () => {
  const made = await crm.create({ collection: "accounts", data: { name: "i" }, impersonate: person, returnRepresentation: true });
  assert.equal(made._createdby_value, person);
});
works("deep insert", async () => {
  held.deep = await crm.create({ collection: "accounts", data: { name: "deep", Account_Tasks: [{ subject: "child" }] } });
});
works("create through a navigation property", async () => {
  await crm.create({ collection: "accounts", key: A1, navigationProperty: "Account_Tasks", data: { subject: "in context" } });
});
refuses("create with a text that is too long", "the service's own limit", "maximum allowed length", () =>
  crm.create({ collection: "accounts", data: { name: "x".repeat(161) } }));
works("retrieve", async () => assert.equal((await crm.retrieve({ collection: "accounts", key: held.id })).name, "New"));
works("retrieve with select", async () => {
  const row = await crm.retrieve({ collection: "accounts", key: A1, select: ["name", "accountnumber"] });
  assert.equal(row.accountnumber, "A00001");
});
works("retrieve one column (select with a slash)", async () => {
  assert.equal((await crm.retrieve({ collection: "accounts", key: A1, select: ["/name"] })).value, "Account 1");
});
works("retrieve by alternate key", async () => {
  assert.equal((await crm.retrieve({ collection: "accounts", key: "accountnumber='A00002'" })).accountid, A2);
});
works("retrieve with expand", async () => {
  const row = await crm.retrieve({ collection: "contacts", key: contact, expand: [{ property: "parentcustomerid_account", select: ["name"] }] });
  assert.equal(row.parentcustomerid_account.name, "Account 1");
});
works("retrieve with a nested expand", async () => {
  const inner = [{ property: "createdby", select: ["fullname"] }];
  const row = await crm.retrieve({ collection: "contacts", key: contact, expand: [{ property: "parentcustomerid_account", expand: inner }] });
  assert.equal(row.parentcustomerid_account.createdby.fullname, "SYSTEM");
});
works("retrieve a navigation property", async () => {
  const row = await crm.retrieve({ collection: "contacts", key: contact, navigationProperty: "parentcustomerid_account", select: ["name"] });
  assert.equal(row.name, "Account 1");
});
works("retrieve a collection of a record", async () => {
  const found = await crm.retrieve({ collection: "accounts", key: A1, navigationProperty: "Account_Tasks", select: ["subject"] });
  assert.equal(found.value.length, 1);
});
works("retrieve a member of a collection of a record", async () => {
  const found = await crm.retrieve({ collection: "accounts", key: A1, navigationProperty: "Account_Tasks", select: ["subject"] });
  const row = await crm.retrieve({ collection: "accounts", key: A1, navigationProperty: "Account_Tasks", navigationPropertyKey: found.value[0].activityid });
  assert.equal(row.subject, "in context");
});
works("retrieve with formatted values", async () => {
  const row = await crm.retrieve({ collection: "accounts", key: held.id, includeAnnotations: "OData.Community.Display.V1.FormattedValue" });
  assert.equal(row["revenue_Formatted"] ?? row["revenue@OData.Community.Display.V1.FormattedValue"], "$5.00");
});
works("retrieve if changed (ifnonematch)", async () => {
  const row = await crm.retrieve({ collection: "accounts", key: A1, ifnonematch: 'W/"1"' });
  held.etag = row["@odata.etag"];
});
works("retrieve only if changed says 304", async () => {
  assert.equal(await crm.retrieve({ collection: "accounts", key: A1, ifnonematch: held.etag }), undefined);
});
refuses("retrieve with ifmatch", "If-Match is for writes", "If-Match has no meaning", () =>
  crm.retrieve({ collection: "accounts", key: A1, ifmatch: 'W/"1"' }));
refuses("retrieve what is not there", "404, as the service", "Does Not Exist", () =>
  crm.retrieve({ collection: "accounts", key: "00000000-0000-0000-0000-000000000009" }));
refuses("retrieve with savedQuery", "there are no views", "there are no views here", () =>
  crm.retrieve({ collection: "accounts", key: A1, savedQuery: "00000000-0000-0000-0000-000000000009" }));
refuses("retrieve with a partitionId", "there are no elastic tables", "there are no elastic tables", () =>
  crm.retrieve({ collection: "accounts", key: A1, partitionId: "x" }));
works("update", () => crm.update({ collection: "accounts", key: held.id, data: { name: "Changed" } }));
works("update with returnRepresentation", async () => {
  const row = await crm.update({ collection: "accounts", key: held.id, data: { name: "Again" }, returnRepresentation: true, select: ["name"] });
  assert.equal(row.name, "Again");
});
refuses("update under a stale etag", "412, as the service", "RowVersion", () =>
  crm.update({ collection: "accounts", key: A1, data: { name: "x" }, ifmatch: 'W/"1"' }).then((done) => {
    if (done === false) throw new Error("RowVersion");
  }));
works("update of a single property", () => crm.updateSingleProperty({ collection: "accounts", key: held.id, fieldValuePair: { name: "Single" } }));
works("upsert by alternate key", () => crm.upsert({ collection: "accounts", key: "accountnumber='NEW'", data: { name: "by key" } }));
works("upsert that must not update says false", async () => {
  assert.equal(await crm.upsert({ collection: "accounts", key: A1, data: { name: "x" }, ifnonematch: "*" }), null);
});
works("upsert that must not create", async () => {
  const absent = "00000000-0000-0000-0000-000000000009";
  assert.equal(await crm.upsert({ collection: "accounts", key: absent, data: { name: "x" }, ifmatch: "*" }), null);
});
works("retrieveMultiple", async () => assert.ok((await crm.retrieveMultiple({ collection: "accounts", select: ["name"] })).value.length >= 10));
works("retrieveMultiple with filter, order and top", async () => {
  const found = await crm.retrieveMultiple({ collection: "accounts", select: ["name"], filter: "accountnumber ne null", orderBy: ["name desc"], top: 2 });
  assert.equal(found.value.length, 2);
});
works("retrieveMultiple with count", async () => {
  const found = await crm.retrieveMultiple({ collection: "contacts", count: true, select: ["fullname"] });
  assert.equal(found.oDataCount, found.value.length);
});
works("retrieveMultiple with maxPageSize, and its next page", async () => {
  const first = await crm.retrieveMultiple({ collection: "accounts", select: ["name"], maxPageSize: 3 });
  assert.equal(first.value.length, 3);
  const second = await crm.retrieveMultiple({ collection: "accounts", select: ["name"], maxPageSize: 3 }, first.oDataNextLink);
  assert.notEqual(second.value[0].accountid, first.value[0].accountid);
});
works("retrieveMultiple with expand", async () => {
  const expand = [{ property: "contact_customer_accounts", select: ["fullname"], filter: "statecode eq 0" }];
  const found = await crm.retrieveMultiple({ collection: "accounts", filter: `accountid eq ${A1}`, expand });
  assert.equal(found.value[0].contact_customer_accounts.length, 2);
});
works("retrieveMultiple with apply", async () => {
  const found = await crm.retrieveMultiple({ collection: "accounts", apply: "groupby((statuscode),aggregate($count as count))" });
  assert.equal(found.value[0].statuscode, 1);
});
works("retrieveMultiple with a query function", async () => {
  const found = await crm.retrieveMultiple({ collection: "accounts", filter: `${CRM}LastXDays(PropertyName='createdon',PropertyValue=2)` });
  assert.ok(found.value.length >= 10);
});
works("retrieveMultiple with any and all", async () => {
  const found = await crm.retrieveMultiple({ collection: "accounts", filter: "Account_Tasks/any(t:contains(t/subject,'child'))" });
  assert.equal(found.value[0].accountid, held.deep);
});
works("retrieveMultiple with all annotations", async () => {
  const found = await crm.retrieveMultiple({ collection: "contacts", includeAnnotations: "*", count: true });
  assert.equal(found.value[0]["_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"], "systemuser");
});
refuses("retrieveMultiple with trackChanges", "there is no change tracking", "there is no change tracking here", () =>
  crm.retrieveMultiple({ collection: "accounts", trackChanges: true }));
refuses("retrieveMultiple with a filter that is none", "400, as the service", "Syntax error", () =>
  crm.retrieveMultiple({ collection: "accounts", filter: "name like 'x'" }));
works("retrieveAll", async () => assert.ok((await crm.retrieveAll({ collection: "accounts", select: ["name"] })).value.length >= 10));
works("count", async () => assert.equal(await crm.count({ collection: "contacts" }), 2));
works("count with a filter", async () => assert.equal(await crm.count({ collection: "contacts", filter: "lastname eq 'Bound'" }), 1));
works("countAll", async () => assert.equal(await crm.countAll({ collection: "contacts" }), 2));
works("fetch", async () => {
  const found = await crm.fetch({ collection: "accounts", fetchXml: fetchXml('<attribute name="name"/>', 'count="3"'), includeAnnotations: "*" });
  assert.equal(found.value.length, 3);
  held.cookie = found.PagingInfo.cookie;
});
works("fetch of the next page", async () => {
  const found = await crm.fetch({ collection: "accounts", fetchXml: fetchXml('<attribute name="name"/>', 'count="3"'), pageNumber: 2, pagingCookie: held.cookie });
  assert.equal(found.value.length, 3);
});
works("fetchAll", async () => assert.ok((await crm.fetchAll({ collection: "accounts", fetchXml: fetchXml('<attribute name="name"/>') })).value.length >= 10));
works("fetch with a join", async () => {
  const link = '<link-entity name="contact" from="parentcustomerid" to="accountid" alias="c"><attribute name="lastname"/></link-entity>';
  const found = await crm.fetch({ collection: "accounts", fetchXml: fetchXml(`<attribute name="name"/>${link}`) });
  assert.deepEqual(found.value.map((row) => row["c.lastname"]).sort(), ["Bound", "Contact"]);
});
works("fetch with an aggregate", async () => {
  const found = await crm.fetch({ collection: "accounts", fetchXml: fetchXml('<attribute name="accountid" aggregate="count" alias="n"/>', 'aggregate="true"') });
  assert.ok(found.value[0].n >= 10);
});
refuses("fetch under a hierarchy", "there are no hierarchies", "it has no hierarchies", () =>
  crm.fetch({ collection: "accounts", fetchXml: fetchXml(`<filter><condition attribute="accountid" operator="under" value="${A1}"/></filter>`) }));
works("associate, one to many", () => crm.associate({ collection: "accounts", primaryKey: A2, relationshipName: "Account_Tasks", relatedCollection: "tasks", relatedKey: held.task }));
works("disassociate, one to many", () => crm.disassociate({ collection: "accounts", primaryKey: A2, relationshipName: "Account_Tasks", relatedKey: held.task }));
works("associate, many to many", () => crm.associate({ collection: "teams", primaryKey: team, relationshipName: "teammembership_association", relatedCollection: "systemusers", relatedKey: person }));
works("retrieve through many to many", async () => {
  const found = await crm.retrieve({ collection: "teams", key: team, navigationProperty: "teammembership_association", select: ["fullname"] });
  assert.equal(found.value[0].systemuserid, person);
});
works("disassociate, many to many", () => crm.disassociate({ collection: "teams", primaryKey: team, relationshipName: "teammembership_association", relatedKey: person }));
works("associateSingleValued", () => crm.associateSingleValued({ collection: "accounts", primaryKey: A2, navigationProperty: "primarycontactid", relatedCollection: "contacts", relatedKey: contact }));
works("disassociateSingleValued", () => crm.disassociateSingleValued({ collection: "accounts", primaryKey: A2, navigationProperty: "primarycontactid" }));
works("callFunction WhoAmI", async () => assert.ok((await crm.callFunction("WhoAmI")).UserId));
works("callFunction RetrieveVersion", async () => assert.match((await crm.callFunction({ name: "RetrieveVersion" })).Version, /^9/));
works("callFunction with parameters", async () => {
  const found = await crm.callFunction({ name: "RetrieveTotalRecordCount", parameters: { EntityNames: ["contact"] } });
  assert.deepEqual(found.EntityRecordCountCollection.Values, [2]);
});
refuses("callFunction that is not built", "501: only WhoAmI, RetrieveVersion and RetrieveTotalRecordCount are", "has not built the function", () =>
  crm.callFunction({ name: "RetrieveDeploymentLicenseType" }));
works("callFunction bound to a record", async () => assert.ok((await crm.callFunction({ collection: "systemusers", key: person, name: `${CRM}RetrieveUserPrivileges` })).RolePrivileges.length));
refuses("callFunction bound to a record that is not built", "501: RetrieveUserPrivileges is the only one", "has not built the message", () =>
  crm.callFunction({ collection: "systemusers", key: person, name: `${CRM}RetrieveAllChildUsersSystemUser` }));
refuses("callAction that is not built", "404: WinOpportunity is not an action here", "Resource not found", () =>
  crm.callAction({ actionName: "WinOpportunity", action: { Status: 3 } }));
works("callAction CreateMultiple", async () => {
  const made = await crm.callAction({ collection: "medx_callqueueitems", actionName: `${CRM}CreateMultiple`, action: { Targets: [{ "@odata.type": `${CRM}medx_callqueueitem`, medx_name: "one" }] } });
  assert.equal(made.Ids.length, 1);
});
works("createEntity", async () => {
  const name = { "@odata.type": `${CRM}StringAttributeMetadata`, SchemaName: "new_Name", IsPrimaryName: true, MaxLength: 50, DisplayName: label("Name") };
  held.entity = await crm.createEntity({ data: { SchemaName: "new_Thing", DisplayName: label("Thing"), OwnershipType: "UserOwned", Attributes: [name] } });
});
works("retrieveEntity", async () => {
  held.definition = await crm.retrieveEntity({ key: "LogicalName='new_thing'" });
  assert.equal(held.definition.EntitySetName, "new_things");
});
works("updateEntity (a label)", () => crm.updateEntity({ data: { ...held.definition, DisplayName: label("Renamed") } }));
works("retrieveEntities", async () => assert.ok((await crm.retrieveEntities({ select: ["LogicalName"], filter: "IsCustomEntity eq true" })).value.length >= 2));
works("createAttribute", async () => {
  const data = { "@odata.type": `${CRM}IntegerAttributeMetadata`, SchemaName: "new_Count", MinValue: 0, MaxValue: 9, DisplayName: label("Count") };
  held.attribute = await crm.createAttribute({ entityKey: "LogicalName='new_thing'", data });
});
works("retrieveAttributes, of one type", async () => {
  const found = await crm.retrieveAttributes({ entityKey: "LogicalName='account'", castType: `${CRM}PicklistAttributeMetadata`, select: ["LogicalName"], expand: [{ property: "OptionSet" }] });
  assert.ok(found.value[0].OptionSet.Options.length);
});
works("retrieveAttribute", async () => {
  const found = await crm.retrieveAttribute({ entityKey: "LogicalName='new_thing'", attributeKey: "LogicalName='new_count'", castType: `${CRM}IntegerAttributeMetadata` });
  assert.equal(found.MaxValue, 9);
  held.column = found;
});
works("updateAttribute", () => crm.updateAttribute({ entityKey: held.definition.MetadataId, data: { ...held.column, "@odata.type": `${CRM}IntegerAttributeMetadata`, MaxValue: 5 }, castType: undefined }));
works("createRelationship, many to many", async () => {
  const data = { "@odata.type": `${CRM}ManyToManyRelationshipMetadata`, SchemaName: "new_accounts_contacts", Entity1LogicalName: "account", Entity2LogicalName: "contact", IntersectEntityName: "new_accounts_contacts" };
  held.relationship = await crm.createRelationship({ data });
});
works("retrieveRelationships, of one type", async () => {
  const found = await crm.retrieveRelationships({ castType: `${CRM}ManyToManyRelationshipMetadata`, select: ["SchemaName"] });
  assert.ok(found.value.some((item) => item.SchemaName === "new_accounts_contacts"));
});
works("retrieveRelationship", async () => {
  const found = await crm.retrieveRelationship({ key: held.relationship, castType: `${CRM}ManyToManyRelationshipMetadata` });
  assert.equal(found.Entity1LogicalName, "account");
});
works("deleteRelationship", () => crm.deleteRelationship({ key: held.relationship }));
works("retrieveGlobalOptionSets", async () => assert.deepEqual((await crm.retrieveGlobalOptionSets()).value, []));
refuses("createGlobalOptionSet", "there are no global option sets", "does not support http method", () => crm.createGlobalOptionSet({ data: { Name: "new_set" } }));
works("retrieveCsdlMetadata", async () => assert.match(await crm.retrieveCsdlMetadata(), /<edmx:Edmx/));
refuses("retrieveCsdlMetadata with annotations", "$metadata has no annotations", "annotations in $metadata", () => crm.retrieveCsdlMetadata({ addAnnotations: true }));
works("batch with a change set and a reference", async () => {
  crm.startBatch();
  crm.create({ collection: "accounts", data: { name: "in a batch" }, contentId: "1", inChangeSet: true });
  crm.create({ collection: "tasks", data: { subject: "refers", "regardingobjectid_account_task@odata.bind": "$1" }, contentId: "2", inChangeSet: true });
  const replies = await crm.executeBatch();
  assert.equal(replies.length, 2);
});
works("batch of reads", async () => {
  crm.startBatch();
  crm.retrieve({ collection: "accounts", key: A1, select: ["name"], inChangeSet: false });
  crm.retrieveMultiple({ collection: "contacts", select: ["fullname"], inChangeSet: false });
  const [account, contacts] = await crm.executeBatch();
  assert.equal(account.name, "Account 1");
  assert.equal(contacts.value.length, 2);
});
works("batch with continueOnError", async () => {
  crm.startBatch();
  crm.create({ collection: "accounts", data: { name: 5 }, inChangeSet: false });
  crm.create({ collection: "accounts", data: { name: "after" }, inChangeSet: false });
  assert.equal((await crm.executeBatch({ continueOnError: true })).length, 2);
});
refuses("batch with a failing change set", "the service's own refusal of the operation", "maximum allowed length", async () => {
  crm.startBatch();
  crm.create({ collection: "accounts", data: { name: "x".repeat(161) } });
  const [reply] = await crm.executeBatch();
  throw reply;
});
refuses("uploadFile", "there are no file columns", "", () => crm.uploadFile({ collection: "accounts", key: A1, fieldName: "new_file", fileName: "a.txt", data: new Uint8Array([1]) }));
refuses("downloadFile", "there are no file columns", "", () => crm.downloadFile({ collection: "accounts", key: A1, fieldName: "new_file" }));
refuses("search", "there is no search endpoint", "", () => crm.search("x"));
works("deleteRecord of one column", () => crm.deleteRecord({ collection: "accounts", key: held.id, fieldName: "revenue" }));
works("deleteRecord under a stale etag says false", async () => {
  assert.equal(await crm.deleteRecord({ collection: "accounts", key: held.id, ifmatch: 'W/"1"' }), false);
});
works("deleteRecord", () => crm.deleteRecord({ collection: "accounts", key: held.id }));

await report();
