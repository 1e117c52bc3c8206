"""timm: its networks, loader, optimiser, schedule and averaged weights, in the loop of its train script.

The script itself is not published with the package. The recipe is the one that its documentation gives for training
with little: AdamW, cosine with a warm-up, AutoAugment (RandAugment of this version asks for 0 bits a colour, which
Pillow refuses), random erasing, label smoothing, an average of the weights, the epoch that is best on val.
"""

from __future__ import annotations

from peer_job import Answers, Job, main, timm_network


def train(job: Job, epochs: int) -> Answers:
    """All of the network trains from the first epoch on."""
    # user:
    import timm
    import torch
    from PIL import Image
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import ModelEmaV3
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset):  # in each tool's file: it is among the lines that its user writes
        def __init__(self, images, transform):
            self.images, self.transform = images, transform

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            path, label = self.images[index]
            return self.transform(Image.open(path).convert("RGB")), label

    network = timm_network(job, len(job.classes))
    config = timm.data.resolve_data_config({"img_size": job.input_size}, model=network)
    plain = timm.data.create_transform(**config)
    strong = timm.data.create_transform(**config, is_training=True, auto_augment="original-mstd0.5", re_prob=0.25)
    size = {"batch_size": job.batch_size, "num_workers": job.threads}
    batches = DataLoader(Files(job.train, strong), shuffle=True, drop_last=len(job.train) > job.batch_size, **size)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=3e-4, weight_decay=0.05)
    warmup = min(3, epochs // 4)
    scheduler, _ = create_scheduler_v2(optimizer, "cosine", num_epochs=epochs, warmup_epochs=warmup, warmup_lr=1e-6)
    average = ModelEmaV3(network, decay=0.99)
    loss_of = LabelSmoothingCrossEntropy(0.1)

    def answers(model, images):
        model.eval()
        with torch.no_grad():
            return torch.cat([model(batch).softmax(1) for batch, _ in DataLoader(Files(images, plain), **size)])

    best, kept = -1.0, None
    truth = torch.tensor([label for _, label in job.val])
    for epoch in range(epochs):
        network.train()
        for batch, labels in batches:
            optimizer.zero_grad()
            loss_of(network(batch), labels).backward()
            optimizer.step()
            average.update(network)
        scheduler.step(epoch + 1)
        for model in (network, average.module):
            val = answers(model, job.val)
            if (right := float((val.argmax(1) == truth).float().mean())) > best:
                best, kept = right, (val, {k: v.clone() for k, v in model.state_dict().items()})
    val, state = kept
    network.load_state_dict(state)
    test = answers(network, job.test)
    # :user
    return Answers(val.tolist(), test.tolist())


if __name__ == "__main__":
    main(train)
