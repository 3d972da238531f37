// Submits a workflow and watches it to the end, made from the .proto files alone.
//   node client.js <proto folder> <host:port> <definition file> '<inputs as JSON>'     (the API key: AGENTFLOW_TOKEN)
// Prints one JSON line at the end; needs @grpc/grpc-js and @grpc/proto-loader and nothing of AgentFlow.
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [protoFolder, address, definitionFile, inputs] = process.argv.slice(2);

const definition = loader.loadSync(["agentflow/v1/workflow.proto"], {
  includeDirs: [protoFolder],
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: true,
});
const { WorkflowService } = grpc.loadPackageDefinition(definition).agentflow.v1;
const client = new WorkflowService(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${process.env.AGENTFLOW_TOKEN}`);

// google.protobuf.Struct as proto-loader wants it
function toValue(value) {
  if (value === null) return { nullValue: "NULL_VALUE" };
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  if (typeof value === "object") return { structValue: toStruct(value) };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return { stringValue: String(value) };
}

function toStruct(object) {
  return { fields: Object.fromEntries(Object.entries(object).map(([key, value]) => [key, toValue(value)])) };
}

function fromValue(value) {
  if (!value || !value.kind) return null;
  if (value.kind === "structValue") {
    const fields = value.structValue.fields || {};
    return Object.fromEntries(Object.entries(fields).map(([key, item]) => [key, fromValue(item)]));
  }
  if (value.kind === "listValue") return (value.listValue.values || []).map(fromValue);
  return value.kind === "nullValue" ? null : value[value.kind];
}

function call(method, request) {
  return new Promise((resolve, reject) =>
    client[method](request, metadata, { deadline: Date.now() + 20000 }, (error, reply) =>
      error ? reject(error) : resolve(reply),
    ),
  );
}

function watch(runId) {
  return new Promise((resolve, reject) => {
    const seen = { types: [], tokens: 0, status: "" };
    const request = { run_id: runId, include_tokens: true, parts: true };
    const stream = client.WatchRun(request, metadata, { deadline: Date.now() + 60000 });
    stream.on("data", (response) => {
      if (response.item === "token") {
        seen.tokens += 1;
      } else {
        seen.types.push(response.event.type);
        seen.status = response.event.status;
      }
    });
    stream.on("error", reject);
    stream.on("end", () => resolve(seen));
  });
}

async function main() {
  const submitted = await call("SubmitWorkflow", {
    definition_text: fs.readFileSync(definitionFile, "utf8"),
    inputs: toStruct(JSON.parse(inputs)),
    tags: { client: "node" },
  });
  const seen = await watch(submitted.run_id);
  const { run } = await call("GetRun", { run_id: submitted.run_id });
  console.log(JSON.stringify({ run_id: run.run_id, status: run.status, output: fromValue(run.output), seen }));
  client.close();
}

main().catch((error) => {
  console.error(`${error.code ?? ""} ${error.details ?? error.message}`);
  process.exit(1);
});
