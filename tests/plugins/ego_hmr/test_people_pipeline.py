"""Networks together: places, bodies, guidance, and weights from several files."""

from dataclasses import replace

import pytest
import small_networks
import torch
from avatarctl_ego_hmr import pipeline
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.sampling import Samples
from avatarctl_ego_hmr.settings import Sampling
from avatarctl_ego_hmr.views import View

from avatarctl.body import Bodies
from avatarctl.checkpoints import open_weights
from avatarctl.errors import CheckpointError, UsageError

DDIM = Sampling(sampler="ddim5", samples=2)


@pytest.fixture(scope="module")
def people():
    return People.load(Bodies(), "open")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return open_weights(
        small_networks.write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")
    )


@pytest.fixture(scope="module")
def model(weights, people):
    return pipeline.load(weights, "cpu", people=people)


@pytest.fixture(scope="module")
def view():
    noise = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=noise)

    return View(
        image=draw(3, 3, 224, 224),
        focal=torch.full((3,), 1450.0),
        centre=torch.tensor([[960.0, 540.0]] * 3),
        box_centre=960 + 30 * draw(3, 2),
        box_size=700 + 50 * draw(3),
        points=draw(3, 200, 3) + torch.tensor([0.0, 0.0, 3.0]),
        detected=draw(3, 25) > 0,
    )


NAMES = ["one", "two", "three"]


def test_the_place_is_the_first_network_s(model, view):
    network = small_networks.network("scene").eval()
    with torch.no_grad():
        wanted = network(view)
    torch.testing.assert_close(model.place(view), wanted.transl)
    found, transl = model.likeliest(view)
    torch.testing.assert_close(transl, wanted.transl)
    torch.testing.assert_close(found.matrices, wanted.matrices)
    assert found.betas.shape == (3, 1, 10)


def test_bodies_do_not_depend_on_who_stands_beside(model, view):
    transl = torch.tensor([[0.1, 0.2, 3.0]] * 3)
    found = model.bodies(view, transl, DDIM, names=NAMES)
    alone = model.bodies(view[1:2], transl[1:2], DDIM, names=["two"])
    assert found.matrices.shape == (3, 2, 24, 3, 3)
    torch.testing.assert_close(found.matrices[1:2], alone.matrices, rtol=0, atol=1e-5)
    other = model.bodies(view[1:2], transl[1:2], DDIM, names=["two"], seed=1)
    assert (other.matrices - alone.matrices).abs().max() > 1e-3


def test_samples_are_different_bodies(model, view):
    found = model.bodies(view[:1], torch.zeros(1, 3), DDIM, names=["one"], samples=3)
    assert found.matrices.shape[1] == 3
    assert (found.matrices[:, 0] - found.matrices[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "strength"), [("coap", 0.4), ("volumetric", 30.0)])
def test_guidance_is_that_of_the_collision_network(tmp_path, people, kind, strength):
    parts = f"scene diffusion {kind}"
    own = open_weights(small_networks.write_weights(tmp_path / "own.safetensors", parts))
    model = pipeline.load(own, "cpu", people=people)
    assert model.guide(Sampling()).strength == strength
    assert model.guide(Sampling(guidance=kind, collision_weight=7.0)).strength == 7.0
    assert model.guide(Sampling(guidance="none")) is None
    assert model.guide(DDIM) is None
    with pytest.raises(UsageError, match="does not work with ddim5"):
        model.guide(Sampling(guidance=kind, sampler="ddim5"))
    other = {"coap": "volumetric", "volumetric": "coap"}[kind]
    with pytest.raises(CheckpointError, match=f"of the kind '{kind}'"):
        model.guide(Sampling(guidance=other))
    without = replace(model, collision=None)
    assert without.guide(Sampling()) is None
    with pytest.raises(CheckpointError, match="has no 'collision' network"):
        without.guide(Sampling(guidance=kind))


def test_collisions_are_the_share_of_points_in_the_body(model):
    class Half:
        """A network that holds what has x above 0, and notes what it was asked."""

        def occupied(self, figure, points, draw, considered):
            assert len(figure) == len(points) == 2
            return points[..., 0] > 0

    found = Samples(torch.eye(3).expand(1, 2, 24, 3, 3), torch.zeros(1, 2, 10))
    points = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]]])
    shares = replace(model, collision=Half()).collisions(found, points, names=["one"])
    torch.testing.assert_close(shares, torch.full((1, 2), 0.75))


def test_numbers_that_are_not_finite_are_refused(model, view):
    broken = replace(view, image=view.image * float("nan"))
    with pytest.raises(CheckpointError, match="the scene network gives numbers that are not finite"):
        model.place(broken)
    with pytest.raises(CheckpointError, match="the diffusion network gives"):
        model.bodies(broken, torch.zeros(3, 3), DDIM, names=NAMES)


def test_a_missing_network_is_named_with_its_option(tmp_path, people):
    own = open_weights(small_networks.write_weights(tmp_path / "own.safetensors", "scene"))
    with pytest.raises(CheckpointError, match="has no 'diffusion' network") as caught:
        pipeline.load(own, "cpu", people=people)
    assert "--diffusion-network FILE" in caught.value.hint
    model = pipeline.load(own, "cpu", people=people, parts=["scene"])
    assert model.diffusion is None


def test_a_network_of_other_weights_takes_the_place_of_one(tmp_path, weights):
    other = open_weights(small_networks.write_weights(tmp_path / "own.safetensors", "volumetric"))
    both = pipeline.with_part(weights, "collision", other)
    assert both.config["networks"]["collision"]["kind"] == "volumetric"
    assert both.part("scene") is weights.part("scene")
    foreign = open_weights(small_networks.write_weights(tmp_path / "smpl.safetensors", "coap", body="smpl"))
    with pytest.raises(CheckpointError, match=r"knows open bodies, but .* smpl ones"):
        pipeline.with_part(weights, "collision", foreign)


def test_weights_that_name_no_body_are_refused(weights):
    with pytest.raises(CheckpointError, match="body: found 'mannequin'"):
        pipeline.body_of(replace(weights, config={**weights.config, "body": "mannequin"}))
