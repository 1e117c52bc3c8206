"""AutoGluon-Multimodal: `MultiModalPredictor` with this network, its own augmentation, rates, stopping and soup."""

from __future__ import annotations

from peer_job import Answers, Job, main, timm_network


def train(job: Job, epochs: int) -> Answers:
    """Everything trains from the first step, with layer-wise rates; of the best three checkpoints a greedy soup."""
    # user:
    import json
    import tempfile
    from pathlib import Path

    import pandas
    import torch
    from autogluon.multimodal import MultiModalPredictor

    train_data, val_data, test_data = (
        pandas.DataFrame([(path, job.classes[label]) for path, label in images], columns=["image", "label"])
        for images in (job.train, job.val, job.test)
    )
    with tempfile.TemporaryDirectory() as folder:
        network = timm_network(job, 0)
        config = {"architecture": job.backbone, "num_features": network.num_features}
        size = {"input_size": [3, job.input_size, job.input_size]}
        Path(folder, "config.json").write_text(json.dumps({**config, "pretrained_cfg": network.pretrained_cfg | size}))
        torch.save(network.state_dict(), Path(folder, "pytorch_model.bin"))
        predictor = MultiModalPredictor(
            label="label", problem_type="multiclass", eval_metric="accuracy", path=f"{folder}/run", verbosity=0
        )
        settings = {
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": folder,
            "model.timm_image.image_size": job.input_size,
            "env.num_gpus": 0,
            "env.precision": 32,
            "env.num_workers": job.threads,
            "env.per_gpu_batch_size": job.batch_size,
            "env.batch_size": job.batch_size,
            "optim.max_epochs": epochs,
        }
        predictor.fit(train_data, tuning_data=val_data, hyperparameters=settings, seed=job.seed)
        val, test = (predictor.predict_proba(data)[job.classes].to_numpy() for data in (val_data, test_data))
    # :user
    return Answers(val.tolist(), test.tolist())


if __name__ == "__main__":
    main(train)
