"""GRU, LSTM and transposed convolution equal PyTorch's with its weights.

Differences are float32 sums in another order.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import convolution
from models.vqa import autoencoder, recurrent

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", sorted(recurrent.GATES))
def test_recurrent_equals_torch(kind: str):
  theirs = getattr(torch.nn, kind.upper())(6, 8, batch_first=True)
  ours = recurrent.Recurrent(kind, 6, 8, rngs=nnx.Rngs(params=0))
  for name, part in (("input", "ih"), ("hidden", "hh")):
    weight = getattr(theirs, f"weight_{part}_l0").detach().numpy()
    bias = getattr(theirs, f"bias_{part}_l0").detach().numpy()
    setattr(ours, f"{name}_kernel", nnx.Param(jnp.asarray(weight.T)))
    setattr(ours, f"{name}_bias", nnx.Param(jnp.asarray(bias)))
  x = np.random.default_rng(0).normal(size=(3, 7, 6)).astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(x))[0].numpy()
  np.testing.assert_allclose(ours(jnp.asarray(x)), expected, atol=2e-6)


def test_decoder_of_the_autoencoder_equals_torch():
  ours = convolution.Conv(
    4, 5, 3, use_bias=True, dtype="float32", rngs=nnx.Rngs(params=0)
  )
  theirs = torch.nn.ConvTranspose2d(
    4, 5, kernel_size=3, stride=2, padding=1, output_padding=1
  )
  # PyTorch's transposed kernel is [in, out, Y, X], and mirrored.
  kernel = np.array(ours.kernel[...])[::-1, ::-1].transpose(2, 3, 0, 1)
  with torch.no_grad():
    theirs.weight.copy_(torch.from_numpy(kernel.copy()))
    theirs.bias.zero_()
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
  got = autoencoder._transposed(ours, jnp.asarray(x))
  np.testing.assert_allclose(got, expected.transpose(0, 2, 3, 1), atol=1e-5)
