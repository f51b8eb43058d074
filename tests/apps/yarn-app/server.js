const ms = require('ms');
const greeting = require('./greeting.json');
require('node:http').createServer((_, response) => response.end(`${greeting} ${ms(60000)}\n`)).listen(process.env.PORT ?? 8080, '0.0.0.0');
