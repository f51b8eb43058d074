const http = require('node:http');
http.createServer((_, response) => response.end('elsewhere\n')).listen(3999, '0.0.0.0');
