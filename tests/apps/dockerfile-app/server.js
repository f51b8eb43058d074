const http = require('node:http');
const greeting = require('./greeting');
const files = require('node:fs').readdirSync('.').sort().join(' ');
http.createServer((_, response) => response.end(`${greeting}: ${files}\n`)).listen(Number(process.env.PORT ?? 3000), '0.0.0.0');
