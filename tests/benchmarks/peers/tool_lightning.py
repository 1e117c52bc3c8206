"""Lightning: `BackboneFinetuning`, which unfreezes the backbone half-way, and the checkpoint that is best on val."""

from __future__ import annotations

from peer_job import Answers, Job, main, timm_network


def train(job: Job, epochs: int) -> Answers:
    """The head alone for half of the epochs, then everything, the backbone's rate growing to the head's."""
    # user:
    import tempfile

    import lightning
    import timm
    import torch
    from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
    from PIL import Image
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset):  # in each tool's file: it is among the lines that its user writes
        def __init__(self, images, transform):
            self.images, self.transform = images, transform

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            path, label = self.images[index]
            return self.transform(Image.open(path).convert("RGB")), label

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.backbone = timm_network(job, 0)
            self.head = torch.nn.Linear(self.backbone.num_features, len(job.classes))

        def forward(self, batch):
            return self.head(self.backbone(batch))

        def training_step(self, batch, index):
            return cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("val_top1", (self(batch[0]).argmax(1) == batch[1]).float().mean(), on_epoch=True)

        def predict_step(self, batch, index):
            return self(batch[0]).softmax(1)

        def configure_optimizers(self):
            return torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), lr=1e-3)

    model = Classifier()
    config = timm.data.resolve_data_config({}, model=model.backbone) | {
        "input_size": (3, job.input_size, job.input_size)
    }
    plain = timm.data.create_transform(**config)
    varied = timm.data.create_transform(**config, is_training=True, auto_augment=None)
    size = {"batch_size": job.batch_size, "num_workers": job.threads, "persistent_workers": True}
    train_loader = DataLoader(Files(job.train, varied), shuffle=True, **size)
    val_loader, test_loader = (DataLoader(Files(images, plain), **size) for images in (job.val, job.test))
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val_top1", mode="max")
        unfreeze = BackboneFinetuning(unfreeze_backbone_at_epoch=epochs // 2, backbone_initial_ratio_lr=0.01)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(max_epochs=epochs, callbacks=[best, unfreeze], accelerator="cpu", **quiet)
        trainer.fit(model, train_loader, val_loader)
        val, test = (
            torch.cat(trainer.predict(model, loader, ckpt_path=best.best_model_path))
            for loader in (val_loader, test_loader)
        )
    # :user
    return Answers(val.tolist(), test.tolist())


if __name__ == "__main__":
    main(train)
