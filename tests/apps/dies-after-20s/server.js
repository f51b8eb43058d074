const http = require('node:http');
http.createServer((_, response) => response.end('alive\n')).listen(Number(process.env.PORT ?? 8080), '0.0.0.0');
const seconds = Number(process.env.DIES_AFTER ?? 20);
setTimeout(() => { console.error(`dies after ${seconds} s`); process.exit(3); }, seconds * 1000);
