"""`training.distillation`: a finished run whose answers the network learns from, beside or instead of labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from featcache.options.option_types import Positive, Section


class Distillation(Section):
    """The loss of an image becomes (1 - weight) x cross-entropy with its label + weight x temperature^2 x the
    Kullback-Leibler divergence from the teacher's probabilities, both softened by the temperature (Hinton, Vinyals and
    Dean 2015)."""

    teacher: Annotated[str, Field(min_length=1)]
    """The folder of a finished run or combination on the same images, cut in the same way."""
    temperature: Positive = 2.0
    """That logits of student and teacher are divided by."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What the teacher's part of the loss counts, the label's part being the rest."""
    out_of_fold: Annotated[int, Field(ge=2, le=100)] | None = None
    """A teacher knows the images that it was trained on: it has them right, and is sure. With a number, heads trained
    anew, each on all folds of the training images but one, answer those of that fold; a network that was fine-tuned
    answers as it is. null: so does every teacher."""
    unlabelled: Annotated[str, Field(min_length=1)] | None = None
    """A folder of images without labels, of which the student learns what the teacher says of them alone; those that
    are in the data set are left out."""
