const http = require('node:http');
const VERSION = 'v1';
const { PORT = 8080, HOST = '0.0.0.0' } = process.env;

const server = http.createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  response.setHeader('content-type', 'text/plain');
  response.end(`hello from ${VERSION} (${process.env.PANDA_RELEASE ?? 'no release'})\n`);
});
server.listen(Number(PORT), HOST, () => console.log(`hello-node ${VERSION} listens on ${HOST}:${PORT}`));

process.on('SIGTERM', () => {
  console.log('SIGTERM: finishing requests');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
