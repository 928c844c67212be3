// validatorUrl: null, because the page would otherwise send the document to another host.
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  displayOperationId: false,
});
