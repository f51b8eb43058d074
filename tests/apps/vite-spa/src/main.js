import './style.css';
document.querySelector('#app').textContent = `vite-spa v1 at ${location.pathname}`;
