// Lays the API's document out. Everything goes in as text, never as markup.
"use strict";

const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};

const nameOf = (ref) => ref.split("/").pop();

// Says a schema in a word or two: `App`, `string`, `array of Token`, `map of integer`.
const typeOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return nameOf(schema.$ref);
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) return choices.map(typeOf).filter((word) => word !== "null").join(" or ");
  const kind = Array.isArray(schema.type) ? schema.type.filter((k) => k !== "null").join(" or ") : schema.type;
  if (kind === "array") return "array of " + typeOf(schema.items);
  if (kind === "object" && schema.additionalProperties) return "map of " + typeOf(schema.additionalProperties);
  return schema.enum ? schema.enum.join(" | ") : kind || "any";
};

const link = (schema) => {
  const node = make("span");
  const word = typeOf(schema);
  const target = schema && (schema.$ref || (schema.items && schema.items.$ref));
  if (target) {
    const anchor = make("a", word);
    anchor.href = "#schema-" + nameOf(target);
    node.append(anchor);
  } else {
    node.textContent = word;
  }
  return node;
};

const table = (heads, rows) => {
  const wrap = make("div", undefined, "wide");
  const node = make("table");
  const head = node.createTHead().insertRow();
  for (const text of heads) {
    const cell = make("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = node.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) row.insertCell().append(cell);
  }
  wrap.append(node);
  return wrap;
};

const bodyOf = (content) => Object.entries(content || {}).map(([kind, media]) => {
  const line = make("p");
  line.append(make("code", kind), " ", link(media.schema));
  return line;
});

const operation = (method, path, spec) => {
  const box = make("details");
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), "method"), make("code", path), " " + (spec.summary || ""));
  box.append(head);
  if (spec.description && spec.description !== spec.summary) box.append(make("p", spec.description));
  if (spec.parameters && spec.parameters.length) {
    box.append(make("h4", "Parameters"), table(["Name", "In", "Type", "About"], spec.parameters.map((p) => [
      make("code", p.name + (p.required ? "" : "?")), p.in, link(p.schema), p.description || "",
    ])));
  }
  if (spec.requestBody) box.append(make("h4", "Body"), ...bodyOf(spec.requestBody.content));
  box.append(make("h4", "Answers"), table(["Status", "Type", "About"], Object.entries(spec.responses || {}).map(([status, r]) => {
    const type = make("span");
    type.append(...bodyOf(r.content));
    return [status, type, r.description || ""];
  })));
  return box;
};

const schema = (name, spec) => {
  const box = make("details");
  box.id = "schema-" + name;
  box.append(make("summary", name), make("p", spec.description || ""));
  const fields = Object.entries(spec.properties || {});
  const required = new Set(spec.required || []);
  if (fields.length) {
    box.append(table(["Field", "Type", "About"], fields.map(([field, s]) => [
      make("code", field + (required.has(field) ? "" : "?")), link(s), s.description || "",
    ])));
  } else {
    box.append(make("p", typeOf(spec)));
  }
  return box;
};

const openTarget = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
};

const lay = (spec) => {
  const byTag = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      if (!op.responses) continue;
      const tag = (op.tags && op.tags[0]) || "other";
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(operation(method, path, op));
    }
  }
  const nodes = [];
  for (const [tag, operations] of byTag) nodes.push(make("h2", tag), ...operations);
  nodes.push(make("h2", "Schemas"));
  for (const [name, s] of Object.entries((spec.components && spec.components.schemas) || {})) nodes.push(schema(name, s));
  document.getElementById("api").replaceChildren(...nodes);
  openTarget();
};

addEventListener("hashchange", openTarget);
fetch("/api/openapi.json")
  .then((answer) => answer.json())
  .then(lay)
  .catch(() => document.getElementById("api").replaceChildren(make("p", "The document couldn't be read.")));
