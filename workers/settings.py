"""The configuration: a YAML file, overridden by the environment (``TIDECAST_REDIS__URL=...``), checked before anything starts."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, SecretStr, field_validator, model_validator

from models.spec import EXPERTS, ModelSpec
from stream.fields import FieldMapping, Limits
from stream.kafka_clients import Client
from workers.durations import Duration, parse_duration
from workers.relay.settings import RelaySettings
from workers.section import Section

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
SECRETS = ("sasl_plain_password", "ssl_password")


class KafkaSettings(BaseModel):
    """Kafka, under kafka-python's own names; what stands here is handed to its clients. ``client``: which one the workers read with."""

    model_config = ConfigDict(extra="allow", frozen=True)

    client: Client = "kafka-python"
    bootstrap_servers: str | list[str] = "127.0.0.1:9092"
    group_id: str = "tidecast"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_plain_password: SecretStr | None = None
    ssl_password: SecretStr | None = None

    @model_validator(mode="after")
    def _kafka_python_knows_them(self) -> KafkaSettings:
        from difflib import get_close_matches

        from stream.kafka_config import setting_names

        for name in sorted(set(self.__pydantic_extra__ or {}) - setting_names()):
            near = get_close_matches(name, setting_names(), 1)
            raise ValueError(f"kafka-python has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
        return self

    def connection(self) -> dict[str, Any]:
        """Settings under kafka-python's names, without the group."""
        settings = self.model_dump(exclude={"client", "group_id"}, exclude_none=True)
        for name in SECRETS:
            if name in settings:
                settings[name] = settings[name].get_secret_value()
        return settings


class RedisSettings(Section):
    """Redis: one server (or a sentinel-less replica's master); ``forecast_maxlen`` bounds the stream of forecasts, in batches."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    forecast_maxlen: int = Field(default=1_000, ge=0)
    alert_maxlen: int = Field(default=100_000, ge=1)


class ModelSettings(Section):
    """The network of a feed and how it learns."""

    experts: tuple[str, ...] = EXPERTS
    architecture: str = "gru"
    hidden: int = Field(default=32, ge=4, le=256)
    layers: Literal[1, 2] = 1
    policy: Literal["window", "joint", "carried"] = "window"
    truncation: int = Field(default=24, ge=1, le=256)
    patch: Literal["auto"] | Annotated[int, Field(ge=1, le=96)] = "auto"
    learn_every: int = Field(default=1, ge=1)
    replay: Literal["auto"] | Annotated[int, Field(ge=0, le=16)] = "auto"
    online_rate: float = Field(default=2e-4, gt=0, le=0.1)
    train_rate: float = Field(default=3e-3, gt=0, le=0.1)
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0, le=1)

    def chosen(self) -> dict[str, Any]:
        """The settings with what the policy decides: a carried state takes slots one by one, and only separate windows can be replayed."""
        patch = (1 if self.policy == "carried" else 8) if self.patch == "auto" else self.patch
        replay = int(self.policy == "window") if self.replay == "auto" else self.replay
        return self.model_dump() | {"patch": patch, "replay": replay}


class AlertSettings(Section):
    """What is told of a series, and when. ``pending`` and ``keep_firing`` count observations; ``stale_after`` 0 means never."""

    anomalies: bool = True
    false_alarms_per_week: float = Field(default=0.5, gt=0, le=100)
    pending: int = Field(default=1, ge=1, le=1_000)
    keep_firing: int = Field(default=48, ge=1, le=10_000)
    most_a_day: int = Field(default=10, ge=1, le=1_000)
    adapt: bool = True
    above: float | None = None
    below: float | None = None
    crossing_probability: float = Field(default=0.5, gt=0, lt=1)
    drift: bool = True
    adwin_delta: float = Field(default=1e-5, gt=0, lt=1)
    page_hinkley_threshold: float = Field(default=40.0, gt=0)
    minimum_rise: float = Field(default=1.5, gt=1)
    stale_after: Duration = 600_000_000


class ThresholdSettings(Section):
    """Limits whose crossing is forecast, for the series whose id fits the pattern."""

    series: str = "*"
    above: FiniteFloat | None = None
    below: FiniteFloat | None = None

    @model_validator(mode="after")
    def _a_limit_is_there(self) -> ThresholdSettings:
        if self.above is None and self.below is None:
            raise ValueError("give above, below or both")
        return self


class RetrainSettings(Section):
    """When the shared starting weights are trained anew, and on how much history."""

    every: Duration | None = None
    cron: str | None = None
    jitter: Duration = 0
    history: Duration = 7 * 86_400_000_000
    max_records: int = Field(default=2_000_000, ge=1)
    epochs: int = Field(default=8, ge=1, le=1000)
    time_limit: Duration = 1_800_000_000

    @model_validator(mode="after")
    def _one_trigger(self) -> RetrainSettings:
        if self.every and self.cron:
            raise ValueError("give every or cron, not both")
        if self.every is not None and self.every < 1_000_000:
            raise ValueError("every must be at least 1s")
        return self

    @field_validator("cron")
    @classmethod
    def _cron(cls, cron: str | None) -> str | None:
        if cron is not None:
            from workers.triggers import crontab

            try:
                crontab(cron)
            except ValueError as error:
                raise ValueError(f"{error}; write five fields as in crontab, for example '0 3 * * *'") from error
        return cron


class FeedSettings(Section):
    """A group of series that share topics, mapping and models. ``lateness`` and ``max_gap`` count steps."""

    name: Name
    topics: Annotated[list[Topic], Field(min_length=1)]
    partitions: int = Field(default=8, ge=1)
    replication_factor: int = Field(default=-1, ge=-1, description="-1: as the broker is set")
    fields: FieldMapping = FieldMapping()
    limits: Limits = Limits()
    step: Literal["auto"] | Duration = "auto"
    lateness: int = Field(default=10, ge=0, le=10_000)
    max_gap: int = Field(default=1_000, ge=1)
    season: Literal["auto"] | Annotated[int, Field(ge=2, le=10_000)] = "auto"
    context: int = Field(default=96, ge=4, le=2_048)
    horizon: int = Field(default=24, ge=1, le=256)
    levels: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    known_series: int = Field(default=100_000, ge=1)
    model: ModelSettings = ModelSettings()
    thresholds: tuple[ThresholdSettings, ...] = ()
    alerts: AlertSettings = AlertSettings()
    retrain: RetrainSettings = RetrainSettings()

    @field_validator("step", mode="before")
    @classmethod
    def _step(cls, step: Any) -> Any:
        if step == "auto":
            return step
        if parse_duration(step) < 1_000:
            raise ValueError("a step is at least 1ms")
        return step

    @model_validator(mode="after")
    def _spec_holds(self) -> FeedSettings:
        from models.registry import names

        if self.model.architecture not in names():
            raise ValueError(
                f"model.architecture {self.model.architecture!r} is unknown; there are: {', '.join(names())}"
            )
        self.spec()
        return self

    @property
    def step_us(self) -> int:
        """The step in microseconds, 0 where each series' is inferred."""
        return 0 if self.step == "auto" else self.step

    def threshold(self, series: str) -> ThresholdSettings | None:
        """The first of ``thresholds`` whose pattern the series' id fits."""
        return next((one for one in self.thresholds if fnmatchcase(series, one.series)), None)

    def spec(self) -> ModelSpec:
        """What the models package needs to know."""
        return ModelSpec(
            context=self.context,
            horizon=self.horizon,
            channels=1 + len(self.fields.channels),
            levels=self.levels,
            season=0 if self.season == "auto" else self.season,
            **self.model.chosen(),
        )


class WorkerSettings(Section):
    """How a worker runs: batch size, how often state is saved, how many series it keeps in memory (per feed), when it learns less."""

    batch_records: int = Field(default=500, ge=1)
    poll_timeout: Duration = 200_000
    checkpoint: Duration = 10_000_000
    checkpoint_batch: int = Field(default=64, ge=1)
    resident_series: int = Field(default=10_000, ge=1)
    heartbeat: Duration = 2_000_000
    thin_after: Duration = 10_000_000
    thin_most: int = Field(default=8, ge=1, le=1024)
    stop_within: Annotated[Duration, Field(gt=0)] = 25_000_000
    seed: int = 0


class DashboardSettings(Section):
    """Where the page and the API listen, and who may see and who may change. Loopback needs no token, any other address does."""

    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65_535)
    read_token: SecretStr | None = None
    operate_token: SecretStr | None = None
    allowed_hosts: tuple[str, ...] = ()

    @field_validator("read_token", "operate_token", mode="before")
    @classmethod
    def _empty_is_none(cls, token: Any) -> Any:
        # An environment passed on by a container's file is empty where it is not set.
        return None if token == "" else token

    @field_validator("read_token", "operate_token")
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < 16:
            raise ValueError("a token has at least 16 characters; make one with: openssl rand -hex 24")
        return token


class Settings(Section):
    """The whole configuration."""

    namespace: Name = "tidecast"
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    feeds: Annotated[list[FeedSettings], Field(min_length=1)]
    worker: WorkerSettings = WorkerSettings()
    dashboard: DashboardSettings = DashboardSettings()
    relay: RelaySettings = RelaySettings()
    dead_letters: Topic = "tidecast.dead-letters"
    signing_key: SecretStr | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [feed.name for feed in self.feeds]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"feeds: the name {repeated[0]!r} stands twice; every feed needs its own")
        if any(self.dead_letters in feed.topics for feed in self.feeds):
            raise ValueError("dead_letters: must not be a topic that a feed reads")
        taken = {self.dead_letters, *(topic for feed in self.feeds for topic in feed.topics)}
        if any(target.topic in taken for target in self.relay.targets):
            raise ValueError(
                "relay.targets: alerts must not go to a topic that a feed reads, or to that of dead letters"
            )
        return self

    def feed(self, name: str) -> FeedSettings:
        """The feed of that name. Raises KeyError."""
        for feed in self.feeds:
            if feed.name == name:
                return feed
        raise KeyError(name)
