"""Published names of the avatar's tensors and ours (spec 7.6; manifest ca_body)."""

from __future__ import annotations

from avatarctl.checkpoints.keymap import KeyMap

MOST_LAYERS = 12
"""More than any list of the published networks has."""

NAMES = KeyMap(
    [
        ("skip", "conv_resize"),
        ("first", "conv1"),
        ("second", "conv2"),
        ("body_encoder", "encoder"),
        ("body_encoder.enter", "encoder.verts_conv"),
        ("body_encoder.blocks", "encoder.joint_conv_blocks"),
        ("body_encoder.mean", "encoder.mu"),
        ("face_encoder", "encoder_face"),
        ("face_encoder.blocks", "encoder_face.conv_blocks"),
        ("face_encoder.geometry", "encoder_face.geommod.0"),
        ("face_encoder.joint", "encoder_face.jointmod.0"),
        ("face_encoder.mean", "encoder_face.mu"),
        ("face_decoder", "decoder_face"),
        ("face_decoder.code", "decoder_face.encmod.0"),
        ("face_decoder.geometry", "decoder_face.geommod.0"),
        ("face_decoder.view", "decoder_face.viewmod.0"),
        ("face_decoder.image", "decoder_face.texmod2.0"),
        ("body_decoder", "decoder"),
        ("body_decoder.pose", "decoder.local_pose_conv_block"),
        ("body_decoder.embedding", "decoder.embs_fc.0"),
        ("body_decoder.embedding_blocks", "decoder.embs_conv_block"),
        ("body_decoder.face", "decoder.face_embs_fc.0"),
        ("body_decoder.face_blocks", "decoder.face_embs_conv_block"),
        ("body_decoder.joint", "decoder.joint_conv_block"),
        ("body_decoder.blocks", "decoder.conv_blocks"),
        ("body_decoder.offsets", "decoder.verts_conv"),
        ("body_decoder.texture", "decoder.tex_conv"),
        ("view", "decoder_view.unet"),
        ("view.leave", "decoder_view.unet.out"),
        ("shadow_from_pose", "pose_to_shadow"),
        ("shadow_from_pose.enter", "pose_to_shadow.fc_block.0"),
        ("shadow_from_occlusion", "shadow_net"),
        ("shadow_from_occlusion.leave", "shadow_net.shadow_pred"),
        ("upscale", "upscale_net"),
        ("upscale.enter", "upscale_net.conv_block.0"),
        ("upscale.leave", "upscale_net.out_block"),
        *(
            rule
            for layer in range(MOST_LAYERS)
            for rule in (
                (f"face_decoder.layers.{layer}", f"decoder_face.texmod.{2 * layer}"),
                (f"shadow_from_pose.layers.{layer}", f"pose_to_shadow.conv_block.{2 * layer}"),
                (f"shadow_from_occlusion.down.{layer}", f"shadow_net.enc_layers.{layer}.0"),
                (f"shadow_from_occlusion.up.{layer}", f"shadow_net.dec_layers.{layer}.0"),
                (f"view.down.{layer}", f"decoder_view.unet.down{layer + 1}.0"),
                (f"view.up.{layer}", f"decoder_view.unet.up{layer + 1}.0"),
            )
        ),
    ]
)
