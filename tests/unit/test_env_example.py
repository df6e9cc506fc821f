"""``.env.example`` names every setting, and no setting that is none."""

import re
from pathlib import Path

from agentos import settings as client_settings
from agentos_api.settings import ApiSettings
from agentos_engine.settings import EngineSettings
from agentos_engine.worker.settings import WorkerSettings
from agentos_gateway.settings import GatewaySettings
from agentos_policy.settings import PolicySettings
from agentos_projector.settings import ProjectorSettings
from agentos_runtime import settings as runtime_settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented() -> None:
    names = r"^((?:AGENTOS|POLICY|EGRESS|SECRETS)_\w+)="
    documented = set(re.findall(names, (ROOT / ".env.example").read_text(), re.MULTILINE))
    kinds = (ApiSettings, EngineSettings, GatewaySettings, PolicySettings, ProjectorSettings, WorkerSettings)
    of_services = {
        field.validation_alias or f"AGENTOS_{name.upper()}"
        for kind in kinds
        for name, field in kind.model_fields.items()
    }
    of_others = {
        name
        for module in (runtime_settings, client_settings)
        for name in re.findall(r'"(AGENTOS_[A-Z_]+)"', Path(module.__file__ or "").read_text())
    }
    assert documented == of_services | of_others | {"AGENTOS_FAILPOINTS"}


def test_defaults_are_the_documented_ones() -> None:
    documented = dict(re.findall(r"^AGENTOS_(\w+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for kind in (ApiSettings, ProjectorSettings, WorkerSettings):
        for name, field in kind.model_fields.items():
            if name.upper() in documented:
                assert str(field.default) == documented[name.upper()], name
