const http = require('node:http');
http.createServer((_, response) => response.end('only for me\n')).listen(Number(process.env.PORT ?? 8080), '127.0.0.1');
