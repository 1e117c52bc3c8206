"""fastai: `vision_learner` and `fine_tune`, as its documentation begins."""

from __future__ import annotations

from peer_job import Answers, Job, main


def train(job: Job, epochs: int) -> Answers:
    """A frozen epoch and `epochs` of everything, one-cycle, the library's own augmentations and rates."""
    # user:
    import pandas
    import torch
    from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner

    images = pandas.DataFrame([(path, job.classes[label]) for path, label in job.train + job.val])
    images["is_valid"] = [False] * len(job.train) + [True] * len(job.val)
    loaders = ImageDataLoaders.from_df(
        images,
        path="/",  # the images' own paths are absolute
        valid_col="is_valid",
        item_tfms=Resize(round(job.input_size * 1.15)),
        batch_tfms=aug_transforms(size=job.input_size),
        bs=job.batch_size,
        num_workers=job.threads,
    )
    weights = {"pretrained_cfg_overlay": {"file": job.weights}}
    learner = vision_learner(loaders, job.backbone, metrics=accuracy, **weights)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        val, _ = learner.get_preds(ds_idx=1)
        test, _ = learner.get_preds(dl=loaders.test_dl([path for path, _ in job.test]))
    # :user
    assert list(loaders.vocab) == sorted(job.classes) and torch.isfinite(test).all()
    return Answers(val.tolist(), test.tolist())


if __name__ == "__main__":
    main(train)
