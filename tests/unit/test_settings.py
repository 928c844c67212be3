"""Settings: where they come from, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from service import settings
from service.provider_keys.keyring import Keyring
from service.settings import Settings, SettingsError
from tests.support.processes import ROOT

ADMIN_KEY = "an-admin-key-of-a-test"
Load = Callable[..., Settings]
SECRETS = {"SERVICE_ADMINKEY": ADMIN_KEY, "ENCRYPTION_KEY": "b"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for field in Settings.__struct_fields__:
        monkeypatch.delenv(field.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def load(environment: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads settings from these values of the environment, SECRETS if not given, and a file with this content."""

    def load(values: dict[str, str | None], file: str = "") -> Settings:
        for name, value in {**SECRETS, **values}.items():
            if value is not None:
                environment.setenv(name, value)
        (tmp_path / ".env").write_text(file)
        return settings.load(tmp_path / ".env")

    return load


def test_the_environment_wins_over_the_file(load: Load) -> None:
    file = "SERVICE_PORT=2\nSERVICE_ADMINKEY=an-admin-key-of-a-file\nENCRYPTION_KEY=y\n"
    config = load({"SERVICE_PORT": "1", "SERVICE_ADMINKEY": None}, file)
    assert config.service_port == 1
    assert config.service_adminkey == "an-admin-key-of-a-file"


@pytest.mark.parametrize(("text", "value"), [("on", True), ("OFF", False), ("no", False), ("true", True), ("0", False)])
def test_a_switch_is_on_or_off(load: Load, text: str, value: bool) -> None:
    config = load({"SERVICE_INDEXER": text, "SERVICE_DBNAME": "on"})
    assert (config.service_indexer, config.service_dbname) == (value, "on")


def test_values_become_what_the_field_wants(load: Load) -> None:
    values = {"SERVICE_DEBUG": "true", "SERVICE_STATEMENT_TIMEOUT": "2.5", "SERVICE_DATA_DIR": "/var/lib/x"}
    config = load(values)
    assert config.service_data_dir == Path("/var/lib/x")
    assert config.service_debug is True
    assert config.service_statement_timeout == 2.5


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [None, "", "change-me"])
def test_a_missing_or_placeholder_secret_is_refused(load: Load, name: str, value: str | None) -> None:
    with pytest.raises(SettingsError, match=name):
        load({name: value})


def test_a_wrong_type_is_refused_by_name(load: Load) -> None:
    with pytest.raises(SettingsError, match="SERVICE_PORT"):
        load({"SERVICE_PORT": "many"})


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
def test_the_database_that_is_named(load: Load, values: dict[str, str], url: str | None) -> None:
    config = load(values)
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
def test_an_unreadable_database_is_not_repeated(load: Load, name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        load({name: url})
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
def test_databases_that_are_readable(load: Load, url: str) -> None:
    assert load({"SERVICE_DATABASE_URL": url}).named_database_url == url


def test_settings_do_not_show_their_secrets(load: Load) -> None:
    config = load({"SERVICE_ADMINKEY": "marked-admin-key", "ENCRYPTION_KEY": "marked"})
    assert "marked" not in repr(config)


KEYS = ["SERVICE_ADMINKEY", "SERVICE_METRICS_KEY"]
USABLE = "marked-key-that-is-usable"


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    "key",
    [
        "marked-schlüssel-schlüssel",
        "marked key of several words",
        "marked-key-of-two\nlines-of-text",
        "marked-key-with-a\ttab",
        "marked-key-with-a-\x7f",
        "marked-key-with-a\u00a0blank",
        "marked-key-\U0001f511-\U0001f511",
        '"marked-key-in-quotation-marks"',
        "'marked-key-in-quotation-marks'",
        "marked",
        "marked-to-short",
        "marked" * 1000,
    ],
)
def test_a_key_that_no_header_carries_or_anybody_guesses_is_refused(load: Load, name: str, key: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} ") as refused:
        load({name: key})
    assert "marked" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", [*KEYS, "ENCRYPTION_KEY"])
@pytest.mark.parametrize(
    "placeholder",
    [
        *("change-me", "change-me\n", "CHANGE_ME", "changeme", "<change-me>", "<a secret of at least 32 characters>"),
        *("$(openssl rand -hex 32)", "${SERVICE_ADMINKEY_OF_ALL}", "{{ the_secret_of_a_template }}"),
    ],
)
def test_a_placeholder_is_refused(load: Load, name: str, placeholder: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is a placeholder"):
        load({name: placeholder})


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("SERVICE_ADMINKEY", {"ENCRYPTION_KEY": USABLE}),
        ("SERVICE_ADMINKEY", {"ENCRYPTION_KEY": f"{USABLE}\n"}),
        ("SERVICE_ADMINKEY", {"SERVICE_METRICS_KEY": USABLE}),
        ("SERVICE_ADMINKEY", {"ENCRYPTION_KEY_PREVIOUS": f"other, {USABLE}"}),
        ("SERVICE_ADMINKEY", {"ENCRYPTION_KEY_PREVIOUS": f'["{USABLE}"]'}),
        ("SERVICE_ADMINKEY", {"SERVICE_DBPASSWORD": USABLE}),
        ("SERVICE_ADMINKEY", {"SERVICE_DATABASE_URL": f"postgresql://u:{USABLE.replace('-', '%2D')}@h,i:5/d"}),
        ("SERVICE_ADMINKEY", {"SERVICE_DATABASE_URL": f"postgresql://h/d?password={USABLE}"}),
        ("SERVICE_METRICS_KEY", {"SERVICE_DATABASE_READ_URL": f"postgresql://u:{USABLE}@h/d"}),
        ("SERVICE_METRICS_KEY", {"ENCRYPTION_KEY": USABLE}),
        ("ENCRYPTION_KEY", {"SERVICE_DBPASSWORD": USABLE}),
    ],
)
def test_two_secrets_are_not_the_same(load: Load, name: str, others: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="must not be the same") as refused:
        load({name: USABLE, **others})
    assert name in str(refused.value)
    assert "marked" not in str(refused.value)


@pytest.mark.parametrize("other", ["ENCRYPTION_KEY", "SERVICE_DBPASSWORD"])
def test_an_earlier_encryption_key_may_be_in_use_elsewhere(load: Load, other: str) -> None:
    load({"ENCRYPTION_KEY_PREVIOUS": USABLE, other: USABLE})


@pytest.mark.parametrize("seconds", ["inf", "0.0001", "1e10"])
def test_a_statement_timeout_that_postgresql_cannot_have(load: Load, seconds: str) -> None:
    with pytest.raises(SettingsError, match="SERVICE_STATEMENT_TIMEOUT"):
        load({"SERVICE_STATEMENT_TIMEOUT": seconds})


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\n{}\t\n"])
def test_what_came_along_from_a_file_is_taken_off(load: Load, around: str) -> None:
    values = {
        "SERVICE_ADMINKEY": USABLE,
        "SERVICE_METRICS_KEY": f"{USABLE}-2",
        "SERVICE_DATABASE_URL": "postgresql://h/d",
        "SERVICE_CORS_ORIGINS": "https://a.example",
        "SERVICE_PORT": "1",
        "SERVICE_DEBUG": "on",
        "SERVICE_POOL_SIZE": "7",
    }
    config = load({name: around.format(value) for name, value in values.items()})
    assert config.service_adminkey == USABLE
    assert config.service_metrics_key == f"{USABLE}-2"
    assert config.service_database_url == "postgresql://h/d"
    assert config.cors_origins == ["https://a.example"]
    assert (config.service_port, config.service_debug, config.service_pool_size) == (1, True, 7)


def test_a_password_loses_its_newline_and_keeps_its_spaces(load: Load) -> None:
    config = load({"SERVICE_DBHOST": "h", "SERVICE_DBPASSWORD": " p q \r\n"})
    assert config.service_dbpassword == " p q "


def test_what_an_encryption_key_sealed_it_goes_on_opening(
    load: Load, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is taken with all that is in it, as it always was; and is said to be odd."""
    odd = [" schlüssel\n", "short", '"quoted"', "two words"]
    for key in odd:
        keyring = Keyring(key)
        blob, key_id = keyring.seal("secret", "place"), keyring.current.id
        config = load({"ENCRYPTION_KEY": key})
        assert Keyring(config.encryption_key, config.previous_keys).open(blob, key_id, "place") == "secret"
        environment.setenv("ENCRYPTION_KEY_PREVIOUS", f"another,{key}")
        environment.setenv("ENCRYPTION_KEY", "a key that came after it")
        later = settings.load(tmp_path / ".env")
        assert Keyring(later.encryption_key, later.previous_keys).open(blob, key_id, "place") == "secret"
        assert "ENCRYPTION_KEY" in settings.remarks(config, tmp_path / ".env")[0]
        environment.delenv("ENCRYPTION_KEY_PREVIOUS")
    config = load({"ENCRYPTION_KEY": "a key that came after it"})
    assert settings.remarks(config, tmp_path / ".env") == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SERVICE_DBNAME=${HOME}", "${HOME}"),
        ("SERVICE_DBNAME=a$HOME${HOME:-x}b", "a$HOME${HOME:-x}b"),
        ('SERVICE_DBNAME="${SERVICE_ADMINKEY}"', "${SERVICE_ADMINKEY}"),
        ("SERVICE_DBNAME=a#b", "a#b"),
        ("SERVICE_DBNAME=a # a remark", "a"),
        ("SERVICE_DBNAME='a # b'", "a # b"),
        ('SERVICE_DBNAME="a \\" b"', 'a " b'),
        ("export SERVICE_DBNAME=a", "a"),
        ("  SERVICE_DBNAME = a  ", "a"),
        ("SERVICE_DBNAME=a=b", "a=b"),
        ("SERVICE_DBNAME=a\r", "a"),
        ("SERVICE_DBNAME=a\nSERVICE_DBNAME=b", "b"),
        ("SERVICE_DBNAME=", "postgres"),
        ("SERVICE_DBNAME", "postgres"),
        ("OTHER=x\n\n# a remark\nSERVICE_DBNAME=a", "a"),
    ],
)
@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_a_file_is_read_literally(load: Load, line: str, value: str, before: str) -> None:
    assert load({}, before + line).service_dbname == value


def test_an_empty_variable_leaves_the_file_its_say(load: Load) -> None:
    assert load({"SERVICE_DBNAME": ""}, "SERVICE_DBNAME=a").service_dbname == "a"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'A=1\n\nSERVICE_ADMINKEY="marked\nB=2\n', "line 3"),
        (b"A=1\nSERVICE_ADMINKEY marked\n", "line 2"),
        ("SERVICE_ADMINKEY=marked".encode("utf-16"), "not in UTF-8"),
        ("SERVICE_ADMINKEY=marked-schlüssel".encode("latin-1"), "not in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SettingsError, match=says) as refused:
        settings.load(tmp_path / "file")
    assert "marked" not in str(refused.value)


def test_a_folder_of_that_name_is_no_file_of_settings(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    assert settings.load(tmp_path / "folder").service_adminkey == ADMIN_KEY


def test_a_misspelt_setting_is_remarked(load: Load, tmp_path: Path) -> None:
    file = "SERVICE_ADMINKEY=x\nSERVICE_RATELIMIT=1/minute\nSERVICE_PORT=1\nSERVICE_PORT=2\nOTHER=a\nOTHER=${b}\n"
    file += "SERVICE_DBPASSWORD=${PW}\n"
    values = {"ENCRYPTION_KEY": "a key that is long enough", "service_pool_size": "3", "SERVICE_ZZZ": "marked"}
    config = load(values, file)
    assert settings.remarks(config, tmp_path / ".env") == [
        f"SERVICE_PORT is set more than once in {tmp_path / '.env'}: the last value counts.",
        f"SERVICE_DBPASSWORD in {tmp_path / '.env'} has a ${{…}}, which is read literally.",
        "SERVICE_RATELIMIT is not a setting of this service; did you mean SERVICE_RATE_LIMIT?",
        "SERVICE_ZZZ is not a setting of this service.",
        "service_pool_size is not a setting of this service; did you mean SERVICE_POOL_SIZE?",
    ]


@pytest.mark.parametrize(
    "origins", ["https://a.example/", "a.example", "https://A.example", "https://a/b", "*.a.example"]
)
def test_an_origin_that_no_browser_sends_is_refused(load: Load, origins: str) -> None:
    with pytest.raises(SettingsError, match="SERVICE_CORS_ORIGINS"):
        load({"SERVICE_CORS_ORIGINS": f"https://b.example,{origins}"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("SERVICE_TRUSTED_PROXIES", "127.0.0.1,10.1.2.3/8"),
        ("SERVICE_TRUSTED_PROXIES", "127.0.0.1,*"),
        ("SERVICE_TRUSTED_PROXIES", "proxy.example.org"),
        ("SERVICE_RATE_LIMIT_STORAGE", "memcached://h:1"),
        ("SERVICE_RATE_LIMIT_STORAGE", "redis.example.org:6379"),
        ("SERVICE_PROVIDER_PROXY", "proxy.example.org:3128"),
        ("SERVICE_PROVIDER_PROXY", "socks5://u:marked@h:1"),
        ("SERVICE_PROVIDER_PROXY", "http://u:marked#@h:1"),
        ("SERVICE_PROVIDER_CA_FILE", "/marked/none.pem"),
    ],
)
def test_a_value_without_an_effect_is_refused(load: Load, name: str, value: str) -> None:
    """uvicorn ignores such a proxy; the others failed later, with a traceback or at each call of a provider."""
    with pytest.raises(SettingsError, match=f"{name} must be ") as refused:
        load({name: value})
    assert "marked" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_TRUSTED_PROXIES", "*"),
        ("SERVICE_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,fc00::/7,::1,"),
        ("SERVICE_RATE_LIMIT_STORAGE", "memory://"),
        ("SERVICE_RATE_LIMIT_STORAGE", "rediss://u:p@h:6379/1"),
        ("SERVICE_RATE_LIMIT_STORAGE", "redis+unix:///run/redis.sock"),
        ("SERVICE_PROVIDER_PROXY", "http://[fc00::1]:3128/"),
        ("SERVICE_PROVIDER_PROXY", "https://u:p%40@proxy-1.example.org"),
        ("SERVICE_PROVIDER_CA_FILE", __file__),
    ],
)
def test_values_of_that_form_are_used(load: Load, name: str, value: str) -> None:
    assert str(getattr(load({name: value}), name.lower())) == value


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
