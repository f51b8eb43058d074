console.log('never-ready: runs, and never listens');
setInterval(() => {}, 1000);
process.on('SIGTERM', () => process.exit(0));
