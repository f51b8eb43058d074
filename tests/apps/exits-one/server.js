console.error('exits-one: cannot start, DATABASE_URL is not set');
process.exit(1);
