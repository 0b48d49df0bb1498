"""The base of everything a user writes."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stacksmith.model.size import parse_size


class Spec(BaseModel):
    """A mapping in a file: unknown keys are errors, values keep their YAML type, objects are frozen."""

    MERGE_HINT: ClassVar[str] = "repeat the keys, or use include or for_each"  # in place of YAML 1.1's merge key

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


def _in(unit: str) -> BeforeValidator:
    def convert(value: Any) -> Any:
        return parse_size(value, unit) if isinstance(value, str) else value

    return BeforeValidator(convert)


LARGEST = 2**31 - 1  # Nova's limit of every size

MiB = Annotated[int, Field(le=LARGEST), _in("MiB")]
GiB = Annotated[int, Field(le=LARGEST), _in("GiB")]
