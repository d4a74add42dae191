"""The same settings from variables and from one profile file; every mistake is named with the nearest real name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.settings import chosen_profile, read_settings
from runtime.errors import Misconfigured


@pytest.fixture(autouse=True)
def _nobody_elses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    chosen_profile.set(None)


def profile(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config" / "writeback" / "profile.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_profile_has_the_same_words_as_the_variables_and_a_variable_beats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(
        tmp_path,
        'mapping_file = "mapping.json"\n[broker]\nbootstrap_servers = "a:1"\ntopic_prefix = "eu."\n'
        '[[identities]]\nkind = "managed"\n[dataverse]\nurl = "https://example.crm.dynamics.com"\n',
    )
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", "b:2")
    settings = read_settings()
    assert (settings.broker.bootstrap_servers, settings.broker.topic_prefix) == ("b:2", "eu.")
    assert (settings.mapping_file, settings.identities[0].kind) == (Path("mapping.json"), "managed")
    assert settings.group_id(settings.writer_group) == "eu.writeback-writer"


def test_every_mistake_in_a_profile_is_named_with_the_nearest_real_setting_and_the_file(tmp_path: Path) -> None:
    path = profile(tmp_path, 'mapping_fil = "x"\n[broker]\ntsl = true\ncheck_topics_every_s = 0\n')
    with pytest.raises(Misconfigured) as refused:
        read_settings()
    here = f"(in the profile {path})"
    assert sorted(refused.value.problems) == [
        f"WRITEBACK_BROKER__CHECK_TOPICS_EVERY_S: Input should be greater than 0 {here}",
        f"WRITEBACK_BROKER__TSL: is not a known setting; did you mean WRITEBACK_BROKER__TLS? {here}",
        f"WRITEBACK_MAPPING_FIL: is not a known setting; did you mean WRITEBACK_MAPPING_FILE? {here}",
    ]


def test_the_file_that_a_variable_names_is_read_and_one_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(tmp_path, "broken = ")
    other = tmp_path / "other.toml"
    monkeypatch.setenv("WRITEBACK_PROFILE", str(other))
    with pytest.raises(Misconfigured, match=r"other\.toml cannot be read: No such file"):
        read_settings()
    other.write_text('writer_group = "another"')
    assert read_settings().writer_group == "another"


def test_B1_a_profile_that_is_no_toml_is_refused_without_repeating_what_is_in_it(tmp_path: Path) -> None:
    profile(tmp_path, '[broker.sasl]\npassword = "hunter2\n')
    with pytest.raises(Misconfigured, match="is not TOML: see at line 2") as refused:
        read_settings()
    assert "hunter2" not in str(refused.value)


def test_nobody_signs_in_without_an_identity_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", "https://example.crm.dynamics.com")
    monkeypatch.setenv("WRITEBACK_IDENTITIES", '[{"kind": "none"}]')
    with pytest.raises(Misconfigured, match="only for a Dataverse on this machine"):
        read_settings()
