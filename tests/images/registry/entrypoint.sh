#!/bin/sh
# As in the official image: a configuration file or a sub-command of `registry`; anything else is a command of its own.
set -e
case "$1" in
  *.yaml | *.yml) set -- registry serve "$@" ;;
  serve | garbage-collect | help | -*) set -- registry "$@" ;;
esac
exec "$@"
