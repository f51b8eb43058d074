const ms = require('ms');
require('node:http').createServer((_, response) => response.end(`pnpm-app ${ms(60000)}\n`)).listen(process.env.PORT ?? 8080, '0.0.0.0');
