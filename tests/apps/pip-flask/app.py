from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "pip-flask v1\n"


@app.get("/healthz")
def healthz():
    return "ok\n"
