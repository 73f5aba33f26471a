"""Holds YAML files against the JSON Schema on standard input: a line of JSON with what is wrong with each."""

import json
import sys

import yaml
from jsonschema import Draft202012Validator

schema = json.load(sys.stdin)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    print(json.dumps([error.message for error in validator.iter_errors(document)]))
