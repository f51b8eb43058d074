import express from 'express';

const app = express();
app.get('/', (_, response) => response.send('npm-express v1\n'));
app.get('/healthz', (_, response) => response.send('ok\n'));

const server = app.listen(Number(process.env.PORT ?? 8080), '0.0.0.0', () => console.log('npm-express is ready'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
