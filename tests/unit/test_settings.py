"""Settings: where they come from, and what is refused."""

import re
from pathlib import Path

import pytest

from service import settings
from service.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]
SECRETS = {"SERVICE_ADMINKEY": "a", "ENCRYPTION_KEY": "b"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for field in Settings.__struct_fields__:
        monkeypatch.delenv(field.upper(), raising=False)
    return monkeypatch


def load(environment: pytest.MonkeyPatch, tmp_path: Path, values: dict[str, str], file: str = "") -> Settings:
    for name, value in values.items():
        environment.setenv(name, value)
    (tmp_path / ".env").write_text(file)
    return settings.load(tmp_path / ".env")


def test_the_environment_wins_over_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = load(
        environment, tmp_path, {"SERVICE_PORT": "1"}, "SERVICE_PORT=2\nSERVICE_ADMINKEY=x\nENCRYPTION_KEY=y\n"
    )
    assert config.service_port == 1
    assert config.service_adminkey == "x"


@pytest.mark.parametrize(("text", "value"), [("on", True), ("OFF", False), ("no", False), ("true", True), ("0", False)])
def test_a_switch_is_on_or_off(environment: pytest.MonkeyPatch, tmp_path: Path, text: str, value: bool) -> None:
    config = load(environment, tmp_path, {**SECRETS, "SERVICE_INDEXER": text, "SERVICE_METRICS_KEY": "on"})
    assert (config.service_indexer, config.service_metrics_key) == (value, "on")


def test_values_become_what_the_field_wants(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {"SERVICE_DEBUG": "true", "SERVICE_STATEMENT_TIMEOUT": "2.5", "SERVICE_DATA_DIR": "/var/lib/x"}
    config = load(environment, tmp_path, {**SECRETS, **values})
    assert config.service_data_dir == Path("/var/lib/x")
    assert config.service_debug is True
    assert config.service_statement_timeout == 2.5


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [None, "", "change-me"])
def test_a_missing_or_placeholder_secret_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str | None
) -> None:
    values = {key: secret for key, secret in SECRETS.items() if key != name}
    with pytest.raises(SettingsError, match=name):
        load(environment, tmp_path, values if value is None else {**values, name: value})


def test_a_wrong_type_is_refused_by_name(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SERVICE_PORT"):
        load(environment, tmp_path, {**SECRETS, "SERVICE_PORT": "many"})


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, None),
        ({"SERVICE_DATABASE_URL": "postgresql://h/d", "SERVICE_DBHOST": "other"}, "postgresql://h/d"),
        ({"SERVICE_DBHOST": "h"}, "postgresql://postgres@h:5432/postgres"),
        (
            {"SERVICE_DBHOST": "h", "SERVICE_DBUSER": "u@x", "SERVICE_DBPASSWORD": "p:/?", "SERVICE_DBNAME": "d"},
            "postgresql://u%40x:p%3A%2F%3F@h:5432/d",
        ),
        ({"SERVICE_DBHOST": "::1", "SERVICE_DBPORT": "6000"}, "postgresql://postgres@[::1]:6000/postgres"),
        ({"SERVICE_DBHOST": "/run/pg"}, "postgresql://postgres@/postgres?host=%2Frun%2Fpg&port=5432"),
    ],
)
def test_the_database_that_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, values: dict[str, str], url: str | None
) -> None:
    config = load(environment, tmp_path, {**SECRETS, **values})
    assert config.named_database_url == url


@pytest.mark.parametrize("name", ["SERVICE_DATABASE_URL", "SERVICE_DATABASE_READ_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "postgres:/u:marked@h/d",
        "mysql://u:marked@h/d",
        "u:marked@h/d",
        "host=h password=marked",
        "postgresql://u:marked@[h/d",
        "postgresql://u:marked@[::1]x/d",
        *(f"postgresql://u:{sign}marked@h/d" for sign in "%/?#@[] "),
    ],
)
def test_an_unreadable_database_is_not_repeated(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, url: str
) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        load(environment, tmp_path, {**SECRETS, name: url})
    assert "marked" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://h",
        "postgresql:///d",
        "postgresql://u:p%2F!$&'()*+,;=:@h:5432/d?sslmode=require&application_name=a%20b",
        "postgresql://u@[2001:db8::1]:5432,[::1]/d",
        "postgresql://one:5432,two:5433/d?target_session_attrs=any",
        "postgresql://postgres:@/postgres?host=/run/pg&port=5432",
    ],
)
def test_databases_that_are_readable(environment: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    assert load(environment, tmp_path, {**SECRETS, "SERVICE_DATABASE_URL": url}).named_database_url == url


def test_settings_do_not_show_their_secrets(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = load(environment, tmp_path, {"SERVICE_ADMINKEY": "marked", "ENCRYPTION_KEY": "marked"})
    assert "marked" not in repr(config)


def test_template_readme_and_settings_agree() -> None:
    names = {field.upper() for field in Settings.__struct_fields__}
    template = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / "template.env").read_text(), re.MULTILINE))
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert template.keys() == names
    assert documented.keys() == names
    for name, value in template.items():
        default = getattr(Settings, "__struct_defaults__", ())
        assert default
        assert value.strip() == documented[name].strip(" `").replace("none", "").replace("required", "change-me"), name
