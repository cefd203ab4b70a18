const http = require("node:http");

const server = http.createServer((request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`hello from my-node-app, you asked for ${request.url}\n`);
});

server.listen(3000, () => console.log("listening on port 3000"));

// As PID 1 nothing else handles the signal that `kiln stop` sends.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
