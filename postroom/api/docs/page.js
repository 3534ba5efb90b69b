// Swagger UI 5.35.0 (Apache-2.0), vendored; it asks this server only.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  docExpansion: "list",
  persistAuthorization: false,
  validatorUrl: null,
  queryConfigEnabled: false,
});
