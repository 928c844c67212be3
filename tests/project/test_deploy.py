"""The image and the manifests: valid, hardened, without secrets, and with numbers that fit together."""

import functools
import ipaddress
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml
from limits import parse

from service import __version__, settings
from service.maps import worker
from service.settings import MEMORY_OF_ANOTHER_MACHINE, Settings
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

# Settings that the manifests name and the service may not have yet.
COMING: set[str] = set()
SECRETS = {
    "embedding-service": {"SERVICE_ADMINKEY", "ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS", "SERVICE_METRICS_KEY"},
    "embedding-service-db-app": {"uri", "username", "password", "dbname"},  # which CloudNativePG makes
}
UNITS = {"": 1, "Mi": 2**20, "Gi": 2**30, "MB": 2**20, "GB": 2**30}  # PostgreSQL's MB are Mi too
OVERLAYS = sorted(folder.name for folder in (ROOT / "deploy/overlays").iterdir())

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

Document = dict[str, Any]


def run(program: str, *arguments: object) -> str:
    """What a program prints, one of this environment before one of the machine; it must find nothing to complain of."""
    path = shutil.which(program, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert path, f"{program} is not installed"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@functools.cache
def rendered(overlay: str) -> list[Document]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", ROOT / "deploy/overlays" / overlay)))


def of_kind(overlay: str, *kinds: str) -> Iterator[Document]:
    return (document for document in rendered(overlay) if document["kind"] in kinds)


def templates(overlay: str) -> list[Document]:
    return [document["spec"]["template"] for document in of_kind(overlay, "Deployment", "Job")]


def containers(overlay: str) -> list[Document]:
    return [container for template in templates(overlay) for container in template["spec"]["containers"]]


def pods(document: Document) -> list[Document]:
    return list(document["spec"]["template"]["spec"]["containers"])


def configured(overlay: str) -> dict[str, str]:
    (configuration,) = of_kind(overlay, "ConfigMap")
    return dict(configuration["data"])


def quantity(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def values_of(key: str, inside: Any) -> Iterator[Any]:
    """All values of a key, however deep."""
    if isinstance(inside, dict):
        if key in inside:
            yield inside[key]
        inside = list(inside.values())
    if isinstance(inside, list):
        for one in inside:
            yield from values_of(key, one)


@each_overlay
def test_every_document_is_valid(overlay: str) -> None:
    schemas = yaml.safe_load((ROOT / "tests/project/custom_resources.yaml").read_text())
    for document in rendered(overlay):
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            jsonschema_rs.validate(schemas, document)


@each_overlay
def test_secrets_are_only_named(overlay: str) -> None:
    assert not list(of_kind(overlay, "Secret"))
    assert not SECRETS["embedding-service"] & set(configured(overlay))
    references = [*values_of("secretKeyRef", rendered(overlay)), *values_of("credentials", rendered(overlay))]
    assert {(one["name"], one["key"]) for one in references} <= {
        (name, key) for name in SECRETS for key in SECRETS[name]
    }


@each_overlay
def test_containers_may_do_little(overlay: str) -> None:
    for template in templates(overlay):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert container["image"] == f"embedding-service:{__version__}"


@each_overlay
def test_settings_exist(overlay: str) -> None:
    fields = set(Settings.__struct_fields__)
    (configuration,) = of_kind(overlay, "ConfigMap")
    named = set(configuration["data"])
    for container in containers(overlay):
        assert container["envFrom"] == [{"configMapRef": {"name": configuration["metadata"]["name"]}}]
        seen: set[str] = set()
        for variable in container["env"]:
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen  # only earlier ones are put in
            seen.add(variable["name"])
        named |= {name for name in seen if name.startswith(("SERVICE_", "ENCRYPTION_"))}
    assert {name.lower() for name in named - COMING} <= fields
    values = {name.lower(): value for name, value in configuration["data"].items()}
    secrets = {"service_adminkey": "a", "encryption_key": "b"}
    msgspec.convert({**secrets, **{name: values[name] for name in values.keys() & fields}}, Settings, strict=False)


@each_overlay
def test_what_goes_on_is_probed(overlay: str) -> None:
    """A service over HTTP; an indexer by what it writes to the only folder that can be written."""
    for container in (one for document in of_kind(overlay, "Deployment") for one in pods(document)):
        probe = container["livenessProbe"]
        if container["args"] == ["serve"]:
            assert probe["httpGet"] == {"path": "/healthz", "port": "http"}
            continue
        assert probe["exec"]["command"] == ["python", "-m", "service.probe"]
        assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert probe["initialDelaySeconds"] >= 30  # it is not fast to start
        assert probe["timeoutSeconds"] >= 5


def test_production_bounds_how_often_anybody_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(name.upper(), raising=False)
    secrets = {"SERVICE_ADMINKEY": "a" * 16, "ENCRYPTION_KEY": "b" * 16}
    for name, value in {**configured("production"), **secrets}.items():
        monkeypatch.setenv(name, value)
    config = settings.load(tmp_path / ".env")
    users, addresses = parse(config.service_rate_limit), parse(config.service_rate_limit_anonymous)
    assert users.amount / users.get_expiry() >= 10 * addresses.amount / addresses.get_expiry()
    # Each service counts by itself: their number is the largest factor, which the page about it has to say.
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler")
    assert config.service_rate_limit_storage == "memory://"
    text = " ".join((ROOT / "deploy/README.md").read_text().split())
    assert f"up to {scaler['spec']['maxReplicas']} times as much" in text
    # All that comes passes the ingress controller, whose address is not its clients': it has to be believed.
    proxies = [ipaddress.ip_network(one) for one in config.service_trusted_proxies.split(",")]
    for pod_network in ("10.244.0.0/16", "172.16.0.0/16", "192.168.0.0/16", "100.64.0.0/16"):
        assert any(ipaddress.ip_network(pod_network).subnet_of(one) for one in proxies if one.version == 4)
    assert not any(ipaddress.ip_address("203.0.113.7") in one for one in proxies)


@each_overlay
def test_selectors_find_their_pods(overlay: str) -> None:
    labels = [template["metadata"]["labels"].items() for template in templates(overlay)]
    for document in of_kind(overlay, "Service", "Deployment", "PodDisruptionBudget", "ServiceMonitor"):
        wanted = document["spec"]["selector"]
        wanted = wanted.get("matchLabels", wanted).items()
        assert sum(wanted <= one for one in labels) == 1, document["metadata"]["name"]


@each_overlay
def test_one_of_all_builds_the_indexes(overlay: str) -> None:
    apart = ["index"] in [container["args"] for container in containers(overlay)]
    assert configured(overlay)["SERVICE_INDEXER"] == ("false" if apart else "true")


@each_overlay
def test_a_map_fits_beside_the_rest(overlay: str) -> None:
    """Otherwise the kernel ends the whole container with the process that makes it (`memory.oom.group`)."""
    runs = "index" if configured(overlay)["SERVICE_INDEXER"] == "false" else "serve"
    (memory,) = (quantity(one["resources"]["limits"]["memory"]) for one in containers(overlay) if one["args"] == [runs])
    bodies = 3 * settings.Settings(service_adminkey="", encryption_key="").service_bodies_bytes
    idle = 128 * 2**20
    assert worker.MEMORY_BYTES + idle + (bodies if runs == "serve" else 0) <= memory


@each_overlay
def test_requests_are_finished_before_the_pod_ends(overlay: str) -> None:
    for template in templates(overlay):
        waits = [int(configured(overlay)[f"SERVICE_{what}_SECONDS"]) for what in ("DRAIN", "SHUTDOWN")]
        assert sum(waits) < template["spec"]["terminationGracePeriodSeconds"]


@each_overlay
def test_the_database_has_room(overlay: str) -> None:
    (cluster,) = (document["spec"] for document in of_kind(overlay, "Cluster"))
    parameters, shm = cluster["postgresql"]["parameters"], quantity(cluster["ephemeralVolumesSizeLimit"]["shm"])

    # One service more while rolling out; the formula of docs/OPERATIONS.md.
    services = max((one["spec"]["maxReplicas"] for one in of_kind(overlay, "HorizontalPodAutoscaler")), default=1)
    pool = int(configured(overlay)["SERVICE_POOL_SIZE"])
    assert (services + 1) * (pool + 6) + 9 <= int(parameters["max_connections"])

    index_memory = int(configured(overlay).get("SERVICE_INDEX_MEMORY_BYTES", MEMORY_OF_ANOTHER_MACHINE))
    assert max(index_memory, quantity(parameters["maintenance_work_mem"])) < shm
    assert shm + quantity(parameters["shared_buffers"]) < quantity(cluster["resources"]["limits"]["memory"])


def test_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text()
    run("hadolint", ROOT / "Dockerfile")
    assert "latest" not in text
    # Of whatever runs: an indexer listens nowhere.
    assert re.search(r'^HEALTHCHECK .*CMD \["python", "-m", "service.probe"\]$', text, re.MULTILINE)
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    assert users
    pods = [template["spec"]["securityContext"] for overlay in OVERLAYS for template in templates(overlay)]
    assert {f"{pod['runAsUser']}:{pod['runAsGroup']}" for pod in pods} == set(users)


def test_the_image_takes_no_secret_along() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert not let_in & {".env", ".git", ".data"}
    assert all((ROOT / name).exists() for name in let_in)
