// The build needs a development dependency, the built server doesn't.
const escape = require('escape-html');
const fs = require('node:fs');
fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/greeting.json', JSON.stringify(escape('<yarn-app>')));
fs.copyFileSync('server.js', 'dist/server.js');
