"""`launches.yaml`: what an entry comes to, and what is said of one that cannot be read."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from offpeak.errors import ConfigurationError
from offpeak.launches.launch import Launch, OpenBatches
from offpeak.launches.listed import EXAMPLE, Launches, read_launches

from ...conftest import ROOT

SPRING = """\
# when the studios get their mail
launches:
  - name: spring_release
    starts: 2027-03-09 09:00
    ends: 2027-03-09 21:00
    zone: Europe/Berlin
    peak_users: 400
    session: {minutes: 12, requests: 6, input_tokens: 5400, output_tokens: 1500}
    models: openai/gpt-5-mini
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "launches.yaml"


def read(file: Path, text: str) -> Launches:
    file.write_text(text, encoding="utf-8")
    return read_launches(file)


def spring(file: Path, old: str = "", new: str = "") -> Launch:
    """The launch of the entry in which `old` is replaced."""
    assert old in SPRING
    (launch,) = read(file, SPRING.replace(old, new, 1) if old else SPRING).launches
    return launch


def refused(file: Path, text: str) -> str:
    """What is said of a list that cannot be read."""
    with pytest.raises(ConfigurationError) as caught:
        read(file, text)
    return str(caught.value)


def test_local_times_are_utc_inside_and_what_is_left_out_has_a_default(file: Path) -> None:
    launch = spring(file)
    assert (launch.starts, launch.ends) == (datetime(2027, 3, 9, 8, tzinfo=UTC), datetime(2027, 3, 9, 20, tzinfo=UTC))
    assert launch.peak_at == datetime(2027, 3, 9, 14, tzinfo=UTC), "the middle of the window"
    assert (launch.quiet, launch.raise_time, launch.notice) == (
        timedelta(days=7),
        timedelta(days=14),
        timedelta(days=1),
    )
    assert (launch.spare, launch.precomputed_share, launch.open_batches) == (0.2, 0.0, OpenBatches.FINISH)
    assert (launch.models, launch.providers) == ({"openai/gpt-5-mini": 1.0}, {"openai"})
    assert (launch.session.length, launch.session.requests) == (timedelta(minutes=12), 6)


def test_a_window_over_a_change_of_the_clocks_lasts_as_long_as_it_does(file: Path) -> None:
    launch = spring(
        file, "starts: 2027-03-09 09:00\n    ends: 2027-03-09", "starts: 2027-03-28 00:00\n    ends: 2027-03-28"
    )
    assert launch.ends - launch.starts == timedelta(hours=20)


def test_a_session_and_shares_of_several_models_are_kept(file: Path) -> None:
    launch = spring(file, "openai/gpt-5-mini", "{anthropic/claude-haiku-5-5: 0.2, openai/gpt-5-mini: 0.8}")
    assert list(launch.models.items()) == [("openai/gpt-5-mini", 0.8), ("anthropic/claude-haiku-5-5", 0.2)]
    assert launch.providers == {"openai", "anthropic"}


def test_launches_are_in_the_order_in_which_they_start(file: Path) -> None:
    earlier = SPRING[SPRING.index("  - ") :].replace("spring_release", "winter").replace("2027-03", "2027-01")
    found = read(file, SPRING + earlier)
    assert [each.name for each in found.launches] == ["winter", "spring_release"]
    assert [each.name for each in found.ahead(datetime(2027, 2, 1, tzinfo=UTC))] == ["spring_release"]
    assert found.named("winter").starts.month == 1
    with pytest.raises(ConfigurationError, match=r"no launch 'summer' in launches\.yaml; there are: winter, spring"):
        found.named("summer")


def test_launches_may_overlap(file: Path) -> None:
    assert len(read(file, SPRING + SPRING[SPRING.index("  - ") :].replace("spring_release", "other")).launches) == 2


@pytest.mark.parametrize("text", ["", "launches: []\n", "# nothing is planned\n"])
def test_an_empty_list_is_no_launch(file: Path, text: str) -> None:
    assert read(file, text) == Launches()


def test_the_example_in_errors_and_the_list_of_this_project_can_be_read(file: Path) -> None:
    assert [each.name for each in read(file, EXAMPLE).launches] == ["spring_release"]
    assert read_launches(ROOT / "launches.yaml").rehearsal is not None


@pytest.mark.parametrize("field", ["name", "starts", "ends", "zone", "peak_users", "session", "models"])
def test_a_field_that_has_to_be_there_is_named_with_the_line_of_its_entry(file: Path, field: str) -> None:
    text = re.sub(rf"^(  -|   ) {field}: .*\n", "", SPRING, flags=re.MULTILINE)
    text = text.replace("    starts", "  - starts", 1) if field == "name" else text
    said = refused(file, text)
    assert f"launches.yaml: line 3, entry 1: {field}: Field required" in said
    assert said.endswith(f"An entry looks like this:\n{EXAMPLE}")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("peak_users: 400", "peak_user: 400", "peak_users: Field required"),
        ("models:", "colour: red\n    models:", "colour: Extra inputs are not permitted"),
        ("minutes: 12", "hours: 1", "session.minutes: Field required"),
        ("minutes: 12", "minutes: 0", "session.minutes: Input should be greater than 0"),
        ("requests: 6", "requests: many", "session.requests: Input should be a valid number"),
        ("peak_users: 400", "peak_users: 0", "peak_users: Input should be greater than 0"),
        ("spring_release", "Spring Release", "name: String should match pattern"),
        ("spring_release", "9th", "name: String should match pattern"),
        ("Europe/Berlin", "Mars/Olympus", "zone: 'Mars/Olympus' is no time zone: write an IANA name, such as Europe"),
        ("Europe/Berlin", "CET+1", "zone: 'CET+1' is no time zone"),
        (
            "2027-03-09 09:00",
            "2027-03-09 09:00+01:00",
            "starts: 2027-03-09 09:00+01:00 names an offset: write the time",
        ),
        ("2027-03-09 09:00", "2027-03-09T09:00:00Z", "starts: 2027-03-09 09:00:00+00:00 names an offset: write the"),
        ("2027-03-09 09:00", "soon", "starts: 'soon' is no time: write a date and a time, such as 2027-03-09 09:00"),
        ("2027-03-09 09:00", "2027-03-28 02:30", "starts: there is no 02:30 in Europe/Berlin on that day: the clocks"),
        ("2027-03-09 21:00", "2027-03-09 08:59", "ends: the window ends before it begins"),
        ("2027-03-09 21:00", "2027-03-09 09:00", "ends: the window ends before it begins"),
        ("2027-03-09 21:00", "2027-03-23 09:01", "ends: the window is longer than 14 days: write a launch for each"),
        ("models:", "peak_at: 2027-03-09 22:00\n    models:", "peak_at: the peak is outside of the window"),
        ("models:", "peak_at: 2027-03-09 08:00\n    models:", "peak_at: the peak is outside of the window"),
        ("openai/gpt-5-mini", "gpt-5-mini", "models: 'gpt-5-mini' is no model: write provider/model; there are"),
        ("openai/gpt-5-mini", "mistral/small", "models: 'mistral/small' is no model"),
        ("openai/gpt-5-mini", "openai/", "models: 'openai/' is no model"),
        ("openai/gpt-5-mini", "{}", "models: the shares add up to 0, and have to add up to 1"),
        ("openai/gpt-5-mini", "{openai/gpt-5-mini: 0.7}", "models: the shares add up to 0.7, and have to add up to 1"),
        (
            "openai/gpt-5-mini",
            "{openai/gpt-5-mini: 1.5}",
            "models.openai/gpt-5-mini: Input should be less than or equal",
        ),
        (
            "models:",
            "precomputed_share: 1.1\n    models:",
            "precomputed_share: Input should be less than or equal to 1",
        ),
        ("models:", "spare: 1\n    models:", "spare: Input should be less than 1"),
        ("models:", "quiet_days: 0\n    models:", "quiet_days: Input should be greater than 0"),
        ("models:", "quiet_days: 61\n    models:", "quiet_days: Input should be less than or equal to 60"),
        ("models:", "raise_days: -1\n    models:", "raise_days: Input should be greater than or equal to 0"),
        ("models:", "notice_hours: -1\n    models:", "notice_hours: Input should be greater than or equal to 0"),
        ("models:", "open_batches: stop\n    models:", "open_batches: Input should be 'finish' or 'cancel'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_line_entry_and_field(file: Path, old: str, new: str, said: str) -> None:
    assert old in SPRING
    assert f"launches.yaml: line 3, entry 1: {said}" in refused(file, SPRING.replace(old, new, 1))


def test_the_second_entry_is_named_with_its_own_line(file: Path) -> None:
    other = (
        SPRING[SPRING.index("  - ") :].replace("spring_release", "autumn").replace("peak_users: 400", "peak_users: x")
    )
    assert "launches.yaml: line 10, entry 2: peak_users: Input should be a valid integer" in refused(
        file, SPRING + other
    )


def test_two_launches_of_one_name_are_refused(file: Path) -> None:
    said = refused(file, SPRING + SPRING[SPRING.index("  - ") :])
    assert "two entries are named 'spring_release'. Give each one a name of its own." in said


def test_what_is_no_yaml_is_refused_with_its_line(file: Path) -> None:
    said = refused(file, SPRING.replace("zone: Europe/Berlin", "zone: [Europe/Berlin"))
    assert "launches.yaml is no YAML: " in said
    assert re.search(r"line [67], column \d+", said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- name: spring\n", "launches.yaml: the file: Input should be a valid dictionary or instance of ListFile"),
        ("launches: spring\n", "launches.yaml: launches: Input should be a valid tuple"),
        ("launch: []\n", "launches.yaml: launch: Extra inputs are not permitted"),
        ("rehearsal: {}\n", "launches.yaml: rehearsal.provider: Field required"),
    ],
)
def test_a_file_of_another_form_is_refused(file: Path, text: str, said: str) -> None:
    assert said in refused(file, text)


def test_a_file_that_is_not_there_is_refused_and_says_what_to_do(file: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_launches(file)
    assert re.search(r"launches\.yaml cannot be read: .*No such file", str(caught.value))
    assert "Write the launches there, or take `launches=` away from the resource `batch_api`." in str(caught.value)
