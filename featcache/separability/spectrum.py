"""Measures of the features' covariance and class means, from one eigendecomposition: H-score, Fisher, rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-3  # least ridge of the Fisher ratio, in mean eigenvalues: keeps it finite where classes have no spread

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def h_score(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Variance that the classes explain, summed over whitened directions: 0 to K - 1, larger is better.

    H-score of features `[N, F]` for labels `[N]` of K classes (Bao et al., "An Information-Theoretic Approach to
    Transferability in Task Transfer Learning", ICIP 2019): tr(cov(f)^-1 cov(E[f|y])). With few images for the features
    the inverse is noise and the score close to K - 1 for any labels. So, as in Ibrahim et al., "Newer is not always
    better: Rethinking transferability metrics", 2022, the covariance is shrunk towards a multiple of the identity by
    the share s of Ledoit and Wolf, and that of the class means scaled by 1 - s. With many images s is near 0 and this
    is the H-score of 2019. The features' common scale and their rotation do not matter. 0 for a single class, for
    features that are the same for all images, and where s is 1: too few images to tell the covariance from noise.
    """
    return Spectrum.of(features, labels).h_score()


def fisher_ratio(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Spread between the classes over the spread within, summed over directions: 0 or more, larger is better.

    tr((W + l I)^-1 B) of features `[N, F]` for labels `[N]`, with W and B the covariance within and between classes:
    the criterion of Fisher's discriminant analysis (Fukunaga, "Introduction to Statistical Pattern Recognition", 1990,
    section 10.2). l is the share of Ledoit and Wolf, at least 0.001, of the mean eigenvalue of W + B, which keeps the
    ratio below F / 0.001. It has no common ceiling: compare backbones on the same images. Where `h_score` is close to
    its ceiling this one still tells backbones apart. The features' common scale and their rotation do not matter. 0 for
    a single class, and for features that are the same for all images.
    """
    return Spectrum.of(features, labels).fisher_ratio()


def effective_rank(features: NDArray[np.float32]) -> float:
    """How many directions features `[N, F]` vary along: 1 to min(N - 1, F), 0 where they do not vary.

    exp of the entropy of the singular values' shares in their sum (Roy and Vetterli, "The effective rank: a measure of
    effective dimensionality", EUSIPCO 2007), of centred features. It knows no labels: neither direction is better by
    itself, but a value near 1 means features that have collapsed. The common scale and the rotation do not matter.
    """
    return Spectrum.of(features, np.zeros(len(features), dtype=np.int64)).effective_rank()


def shrinkage(norm: float, squares: Vector, width: int) -> float:
    """Share, 0 to 1, by which to shrink a covariance C of `[N, F]` towards the mean of its eigenvalues.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, lemma 3.2 to 3.4.
    `norm` is the squared Frobenius norm of C (divided by N), `squares` the squared length of each centred sample `[N]`.
    """
    apart = norm - float(squares.mean()) ** 2 / width
    if apart <= norm * float(np.finfo(np.float32).eps):  # a multiple of the identity, but for rounding
        return 0.0
    noise = (float((squares**2).mean()) - norm) / len(squares)
    return float(np.clip(noise / apart, 0, 1))


def gram_eigen(x: Matrix) -> tuple[Vector, Matrix, bool]:
    """Squared singular values `[R]` of `[N, F]` above rounding, their singular vectors, and whether these are the left
    ones `[N, R]` or the right ones `[F, R]`: from the smaller Gram matrix, several times faster than an SVD."""
    samples, width = x.shape
    dual = samples <= width
    energies, vectors = np.linalg.eigh(x @ x.T if dual else x.T @ x)
    kept = energies > energies[-1] * max(samples, width) * np.finfo(np.float64).eps
    return energies[kept], vectors[:, kept], dual


@dataclass(frozen=True)
class Spectrum:
    """Covariance and class means of features in the eigenvectors of their covariance, where it has rank R."""

    width: int  # F
    variances: Vector  # eigenvalues above 0 of the covariance (divided by N) [R]
    means: Matrix  # of each class, less the mean of all [K, R]
    shares: Vector  # of each class in the images [K]
    shrinkage: float  # of Ledoit and Wolf

    @classmethod
    def of(cls, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Spectrum:
        """From the smaller of the Gram matrices of features `[N, F]`: time as N F min(N, F)."""
        assert len(features) == len(labels) > 0
        samples, width = features.shape
        x = features - features[0].astype(np.float64)  # exactly 0 where all images have the same
        x -= x.mean(axis=0)
        energies, vectors, dual = gram_eigen(x)
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        average = (np.eye(len(counts))[classes] / counts[classes, None]).T  # [K, N]
        means = average @ (vectors * np.sqrt(energies)) if dual else average @ x @ vectors
        variances = energies / samples
        share = shrinkage(float((variances**2).sum()), (x**2).sum(axis=1), width)
        return cls(width, variances, means, counts / samples, share)

    @property
    def mean_variance(self) -> float:
        """Of all F directions."""
        return float(self.variances.sum()) / self.width

    def h_score(self) -> float:
        """See the function; the shrunk covariance is diagonal here."""
        shrunk = (1 - self.shrinkage) * self.variances + self.shrinkage * self.mean_variance
        return float((1 - self.shrinkage) * (self.shares[:, None] * self.means**2 / shrunk).sum())

    def fisher_ratio(self) -> float:
        """See the function.

        B = M M^T and W + l I = D - M M^T with D diagonal, so by Woodbury's identity the trace is the sum of g / (1 - g)
        over the eigenvalues g of the K x K matrix M^T D^-1 M.
        """
        diagonal = self.variances + max(self.shrinkage, FLOOR) * self.mean_variance
        scaled = self.means * np.sqrt(self.shares)[:, None] / np.sqrt(diagonal)
        explained = np.clip(np.linalg.eigvalsh(scaled @ scaled.T), 0, None)
        return float((explained / (1 - explained)).sum())

    def effective_rank(self) -> float:
        """See the function."""
        if not len(self.variances):
            return 0.0
        singular = np.sqrt(self.variances)
        p = singular / singular.sum()
        return float(np.exp(-(p * np.log(p)).sum()))
