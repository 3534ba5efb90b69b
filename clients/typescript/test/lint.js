// Prints each problem that redocly's and spectral's default rules find in the document, one a line.
import { readFileSync } from "node:fs";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import spectralCore from "@stoplight/spectral-core";
import rulesets from "@stoplight/spectral-rulesets";

const source = readFileSync(process.argv[2] ?? "openapi.json", "utf8");
const config = await createConfig({ extends: ["recommended"] });
const ofRedocly = await lintFromString({ source, absoluteRef: "openapi.json", config });
const spectral = new spectralCore.Spectral();
spectral.setRuleset({ extends: rulesets.oas });
const ofSpectral = await spectral.run(JSON.parse(source));
for (const { ruleId, message, location } of ofRedocly) console.log("redocly", ruleId, location[0]?.pointer, message);
for (const { code, message, path } of ofSpectral) console.log("spectral", code, path.join("/"), message);
