"""Renders a chart as `helm template` does, and checks every object against the schemas of three versions of Kubernetes.

render.py CHART VALUES prints the objects as one JSON list; VALUES is JSON. render.py FILE... only checks files of objects.
What is wrong goes to standard error, with exit status 1.
"""

import json
import sys

import kubernetes_validate
import yaml

# The oldest that the chart allows (kubeVersion), one between, and the newest that the schemas know.
VERSIONS = ["1.25", "1.31", "1.37"]


def objects(name, text):
    """The objects of one file, each of a kind that the schemas know or that is an operator's own."""
    found = [each for each in yaml.safe_load_all(text) if each]
    for each in found:
        if each["apiVersion"].startswith(("monitoring.coreos.com/", "kustomize.config.k8s.io/")):
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(map(str, error.path))
                sys.exit(f"{name}: {each['kind']} for Kubernetes {version}: {path}: {error.message}")
    return found


def render(chart, values):
    import helm_python

    report = helm_python.lint(chart, values, strict=True)
    complaints = [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] > 1]
    if report["errors"] or complaints:
        sys.exit("\n".join(report["errors"] + complaints))
    try:
        files = helm_python.Chart.load(chart).render(values, name="sidestep", namespace="sidestep")
    except helm_python.HelmError as error:
        sys.exit(str(error))
    return [each for name, text in files.items() if name.endswith(".yaml") for each in objects(name, text)]


if sys.argv[1].endswith(".yaml"):
    for file in sys.argv[1:]:
        with open(file, encoding="utf-8") as text:
            objects(file, text.read())
else:
    json.dump(render(sys.argv[1], json.loads(sys.argv[2])), sys.stdout)
