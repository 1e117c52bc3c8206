"""fastai: `vision_learner` and `fine_tune`, as its documentation begins."""

from __future__ import annotations

from peer_job import Answers, Job, main


def train(job: Job, epochs: int) -> Answers:
    """A frozen epoch and `epochs` of everything, one-cycle, the library's own augmentations and rates."""
    # user:
    import torch
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        IndexSplitter,
        Resize,
        accuracy,
        aug_transforms,
        vision_learner,
    )

    images = [*job.train, *job.val]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=job.classes)),
        get_x=lambda image: image[0],
        get_y=lambda image: job.classes[image[1]],
        splitter=IndexSplitter(range(len(job.train), len(images))),
        item_tfms=Resize(round(job.input_size * 1.15)),
        batch_tfms=aug_transforms(size=job.input_size),
    )
    loaders = block.dataloaders(images, bs=job.batch_size, num_workers=job.threads)
    weights = {"pretrained_cfg_overlay": {"file": job.weights}}
    learner = vision_learner(loaders, job.backbone, metrics=accuracy, **weights)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        val, _ = learner.get_preds(ds_idx=1)
        test, _ = learner.get_preds(dl=loaders.test_dl(job.test, bs=job.batch_size))
    # :user
    assert torch.isfinite(test).all()
    return Answers(val.tolist(), test.tolist())


if __name__ == "__main__":
    main(train)
