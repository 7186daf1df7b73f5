"""Settings: from the environment, and never shown with their secrets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from feature_store.errors import ConfigurationError
from feature_store.settings import Settings, load_settings, redacted

HOSTS = ["db.example.org", "db.example.org:27017", "one:27017,two:27018,three:27019", "[::1]:27017"]
MARK = "Geheimnis"


@pytest.fixture(autouse=True)
def no_dotenv(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
def test_a_redacted_address_keeps_scheme_and_hosts_only(scheme, hosts):
    assert redacted(f"{scheme}://user:pass@{hosts}/db?replicaSet=rs0&tls=true") == f"{scheme}://{hosts}"
    assert redacted(f"{scheme}://{hosts}") == f"{scheme}://{hosts}"


@pytest.mark.parametrize("password", ["a/b", "a?b", "a@b", "a:b", "@", "//", "a/b@c?d:e@f"])
def test_a_password_with_unescaped_separators_is_cut_out_whole(password):
    assert redacted(f"mongodb://user:{password}@one:1,two:2/db?tls=true") == "mongodb://one:1,two:2"


@given(st.text("abc:/?@#%&=[],", max_size=12), st.text("abc:/?@#%&=[],", max_size=12), st.sampled_from(HOSTS))
def test_the_password_is_never_in_a_description_of_the_warehouse(before, after, hosts):
    uri = f"mongodb://user:{before}{MARK}{after}@{hosts}/db?tls=true"
    settings = Settings(mongo_uri=SecretStr(uri), _env_file=None)
    assert MARK not in settings.describe_warehouse()
    if "=" not in before + after:  # else it could be an option
        assert hosts in settings.describe_warehouse()
    assert MARK not in repr(settings)
    assert MARK not in str(settings)


@pytest.mark.parametrize(
    "secret",
    [
        MARK,
        f"a@{MARK}",
    ],
)
def test_a_secret_among_the_options_of_an_address_is_not_shown(secret):
    assert MARK not in redacted(f"mongodb://u:p@db:27017/?tlsCertificateKeyFilePassword={secret}")


@given(st.text(max_size=30))
def test_what_is_no_address_is_not_shown(text):
    address = text.replace("://", "")
    assert redacted(address) == "(not an address)"


def test_an_address_of_qdrant_is_described_without_credentials(settings):
    remote = settings.model_copy(
        update={"qdrant_url": "https://key:Geheimnis@qdrant.example.org:6333/x?api_key=Geheimnis"}
    )
    assert remote.describe_qdrant() == "Qdrant at https://qdrant.example.org:6333"


def test_embedded_services_are_described_by_their_folders(settings):
    assert str(settings.data_dir) in settings.describe_warehouse()
    assert str(settings.data_dir) in settings.describe_qdrant()


@pytest.mark.parametrize("variable", ["MONGO_URI", "QDRANT_URL", "QDRANT_API_KEY"])
def test_an_empty_address_or_key_means_unset(monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    assert getattr(load_settings(), variable.lower()) is None


@pytest.mark.parametrize("variable", ["MONGO_DATABASE", "DATA_DIR", "MINIMUM_FREE_DISK_MB"])
def test_an_empty_variable_gives_the_default(monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    name = variable.lower()
    assert getattr(load_settings(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QDRANT_URL", f"ftp://{MARK}@host"),
        ("QDRANT_URL", f"http://[{MARK}]"),
        ("QDRANT_URL", f"http://user:{MARK}℀@host"),
        ("MONGO_DATABASE", MARK * 20),
        ("MINIMUM_FREE_DISK_MB", MARK),
        ("MINIMUM_FREE_DISK_MB", "-1"),
    ],
)
def test_a_bad_variable_is_named_without_its_value(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert MARK not in str(caught.value)


def test_the_environment_decides_over_the_dotenv_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("MONGO_DATABASE=from_file\nQDRANT_URL=http://file:6333\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("MONGO_DATABASE", "from_environment")
    settings = Settings(_env_file=tmp_path / ".env")
    assert (settings.mongo_database, settings.qdrant_url) == ("from_environment", "http://file:6333")


def test_all_folders_are_under_an_absolute_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", "somewhere")
    settings = load_settings()
    assert settings.data_dir == tmp_path / "somewhere"
    names = ("warehouse", "feature_store", "vectors", "indexes", "qdrant", "runs", "reports")
    assert {getattr(settings, f"{name}_folder") for name in names} == {settings.data_dir / name for name in names}


def test_a_tilde_in_the_data_folder_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("DATA_DIR", "~/data")
    assert load_settings().data_dir == (Path.home() / "data").resolve()
