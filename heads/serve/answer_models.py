"""What the server says, as JSON and in its OpenAPI schema."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from heads.predict import Predictor, row_of
from heads.serve.batched_predictor import Answer

NAME_LENGTH = 255  # characters of an image's name that are said again


class Chance(BaseModel):
    """A class and its probability."""

    label: str = Field(serialization_alias="class")
    probability: float


class NearImage(BaseModel):
    """A training image whose features are near."""

    number: int = Field(description="Its picture is /neighbours/<number>.jpg.")
    image: str = Field(description="Its name in the data set.")
    label: str = Field(serialization_alias="class")
    distance: float = Field(description="Between features of unit length: 0 (the same direction) to 2.")


class ImageAnswer(BaseModel):
    """What one image is; or `error`, the reason why it cannot be read."""

    image: str
    label: str | None = Field(None, serialization_alias="class")
    probability: float | None = None
    top: list[Chance] = Field([], description="The likeliest classes, the likeliest first.")
    unlike_training: bool | None = None
    as_far: float | None = Field(
        None, description="The share of validation images that are at least as far from the training ones."
    )
    neighbours: list[NearImage] = []
    error: str | None = None


class Answers(BaseModel):
    """What the images of a request are, in their order."""

    run: str
    images: list[ImageAnswer]
    seconds: float = Field(description="From the request's first byte to its answer.")
    detail: str | None = Field(None, description="Why nothing could be predicted, with status 422.")


class Health(BaseModel):
    """Whether requests are answered."""

    status: str
    run: str


class Fault(BaseModel):
    """Why a request was refused."""

    detail: str


def image_answer(answer: Answer, predictor: Predictor, top: int, false_alarms: float) -> ImageAnswer:
    """One image's answer in the words of `featcache predict`."""
    row = row_of(answer.prediction, predictor.classes, top, false_alarms)
    return ImageAnswer(
        image=row.image,
        label=None if row.label is None else legible(row.label),
        probability=row.probability,
        top=[Chance(label=legible(label), probability=p) for label, p in row.top],
        unlike_training=row.unlike,
        as_far=row.as_far,
        neighbours=_near(answer, predictor),
        error=row.reason or None,
    )


def why_none(images: Sequence[ImageAnswer]) -> str | None:
    """Of images none of which could be read, why; None where any could."""
    if not all(one.error for one in images):
        return None
    return images[0].error if len(images) == 1 else "None of the images can be read; each has its reason in `error`."


def legible(name: str) -> str:
    """A name that JSON can hold: file systems know others."""
    return name.encode("utf-8", "backslashreplace").decode()


def _near(answer: Answer, predictor: Predictor) -> list[NearImage]:
    space = predictor.space
    if space is None:
        return []
    return [
        NearImage(
            number=one.number,
            image=legible(space.names[one.number]),
            label=legible(predictor.classes[space.labels[one.number]]),
            distance=one.distance,
        )
        for one in answer.neighbours
    ]
