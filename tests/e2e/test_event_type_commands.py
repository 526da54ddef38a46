"""`hookkeeper event-types`: from an OpenAPI document into the catalogue, and out again."""

import json
import uuid

import processes

pytest_plugins = ["dev_fixtures"]

DOCUMENT = """
openapi: 3.1.0
info: {title: Shop, version: "1"}
webhooks:
  NAME:
    post:
      summary: A build failed.
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Build"}
            example: {log: {lines: 3}}
components:
  schemas:
    Build: {type: object, properties: {log: {$ref: "#/components/schemas/Log"}}}
    Log: {type: object, required: [lines]}
"""


async def test_import_and_export(running_dev: processes.Dev) -> None:
    name = f"build.failed-{uuid.uuid4().hex[:8]}"
    (running_dev.folder / "shop.yaml").write_text(DOCUMENT.replace("NAME", name))
    first = await running_dev.run("event-types", "import", "shop.yaml", "--json")
    assert (first.code, json.loads(first.out)) == (0, {"added": [name], "changed": [], "unchanged": []})
    again = await running_dev.run("event-types", "import", "shop.yaml")
    assert (again.code, again.out) == (0, "0 added, 0 changed, 1 unchanged\n")
    (running_dev.folder / "shop.yaml").write_text(DOCUMENT.replace("NAME", name).replace("A build", "The build"))
    other = await running_dev.run("event-types", "import", "shop.yaml")
    assert (other.code, other.out) == (0, "0 added, 1 changed, 0 unchanged\n")

    listed = json.loads((await running_dev.run("event-types", "list", "--json")).out)
    assert name in [event_type["name"] for event_type in listed["items"]]
    shown = json.loads((await running_dev.run("event-types", "show", name)).out)
    assert shown["schema"]["$defs"]["Log"] == {"type": "object", "required": ["lines"]}
    assert shown["examples"] == [{"log": {"lines": 3}}]

    exported = json.loads((await running_dev.run("event-types", "export")).out)
    assert name in exported["webhooks"]
    refused = await running_dev.run("send", name, "--data", '{"log": {}}')
    assert refused.code == 1
    assert "data/log" in refused.err


async def test_import_refuses_other_files(running_dev: processes.Dev) -> None:
    (running_dev.folder / "not-openapi.json").write_text("{}")
    (running_dev.folder / "not-yaml.yaml").write_text("a: [")
    (running_dev.folder / "binary.yaml").write_bytes(b"\xff\xfe")
    (running_dev.folder / "deep.yaml").write_text("[" * 3000)
    (running_dev.folder / "list.yaml").write_text("webhooks: {order.paid: []}")
    for file, sentence in (
        ("binary.yaml", "is not UTF-8"),
        ("deep.yaml", "is nested too deeply"),
        ("list.yaml", "is not an OpenAPI 3.1 document"),
        ("not-openapi.json", "has no webhooks"),
        ("not-yaml.yaml", "neither JSON nor YAML"),
        ("nowhere.json", "cannot read nowhere.json"),
    ):
        done = await running_dev.run("event-types", "import", file)
        assert done.code == 1
        assert sentence in done.err
        assert "Traceback" not in done.err


async def test_dates_of_yaml_are_texts(running_dev: processes.Dev) -> None:
    name = f"t{uuid.uuid4().hex[:8]}.due"
    schema = "{properties: {day: {type: string, default: 2026-01-02}}}"
    content = f"{{application/json: {{schema: {schema}}}}}"
    document = f"webhooks:\n  {name}:\n    post: {{requestBody: {{content: {content}}}}}\n"
    (running_dev.folder / "dates.yaml").write_text(document)
    assert (await running_dev.run("event-types", "import", "dates.yaml")).err == ""
    shown = json.loads((await running_dev.run("event-types", "show", name)).out)
    assert shown["schema"]["properties"]["day"]["default"] == "2026-01-02"


async def test_events_are_found_by_search_keys_of_a_type_and_a_tenant(running_dev: processes.Dev) -> None:
    tenant, name = f"t{uuid.uuid4().hex[:8]}", f"order.paid-{uuid.uuid4().hex[:8]}"
    made = await running_dev.run("event-types", "create", name, "--search-key", "customer.id", "--search-key", "a")
    assert json.loads(made.out)["search_keys"] == ["customer.id", "a"]
    declared = await running_dev.run("event-types", "search-keys", "order_id", "--tenant", tenant)
    assert (declared.code, declared.out) == (0, f"search keys of {tenant}: order_id\n")
    data = json.dumps({"order_id": 1, "customer": {"id": 2}, "text": "abc"})
    await running_dev.run("send", name, "--id", "found", "--tenant", tenant, "--data", data)
    by_keys = await running_dev.run("events", "list", "--tenant", tenant, "--q", "data.order_id:1 data.customer.id:2")
    assert "found" in by_keys.out
    by_text = await running_dev.run("events", "list", "--tenant", tenant, "--q", "abc")
    assert "found" in by_text.out and "searched back to" in by_text.out
    edited = await running_dev.run("event-types", "edit", name, "--search-key", "")
    assert json.loads(edited.out)["search_keys"] == []


async def test_a_type_is_made_edited_archived_and_deleted(running_dev: processes.Dev) -> None:
    name = f"order.paid-{uuid.uuid4().hex[:8]}"
    schema = '{"type": "object", "required": ["order"]}'
    made = await running_dev.run("event-types", "create", name, "--schema", schema, "--example", '{"order": 1}')
    assert json.loads(made.out)["examples"] == [{"order": 1}]
    edited = json.loads((await running_dev.run("event-types", "edit", name, "--description", "An order was paid.")).out)
    assert (edited["description"], edited["schema"]) == ("An order was paid.", json.loads(schema))
    refused = await running_dev.run("event-types", "edit", name, "--example", "{}")
    assert (refused.code, refused.err[:9]) == (1, "Error: 42"), refused
    freed = json.loads((await running_dev.run("event-types", "edit", name, "--schema", "", "--example", "")).out)
    assert (freed["schema"], freed["examples"]) == (None, [])

    assert (await running_dev.run("event-types", "archive", name)).out == f"{name} is archived\n"
    assert (await running_dev.run("send", name)).code == 1
    assert (await running_dev.run("event-types", "archive", name, "--undo")).out == f"{name} is not archived any more\n"
    assert (await running_dev.run("send", name)).code == 0
    assert (await running_dev.run("event-types", "delete", name, "--yes")).out == f"{name} is deleted\n"
    assert (await running_dev.run("event-types", "show", name)).code == 1
