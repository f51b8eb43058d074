const http = require('node:http');
http.createServer((_, response) => response.end('hungry\n')).listen(Number(process.env.PORT ?? 8080), '0.0.0.0');
const kept = [];
setInterval(() => kept.push(Buffer.alloc(32 << 20, 1)), 100);
