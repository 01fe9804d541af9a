"""The paths of a tiny SDXL in the order of execution, as the recorder names them."""


def text_encoder(name, layers):
    yield from (f"{name}.text_model.embeddings.token_embedding", f"{name}.text_model.embeddings")
    for layer in range(layers):
        base = f"{name}.text_model.encoder.layers.{layer}"
        for part in (
            "layer_norm1",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
            "self_attn",
            "layer_norm2",
            "mlp.fc1",
            "mlp.activation_fn",
            "mlp.fc2",
            "mlp",
        ):
            yield f"{base}.{part}"
        yield base
    yield from (f"{name}.text_model.final_layer_norm", f"{name}.text_model")


def resnet(base):
    yield from (f"{base}.{part}" for part in ("norm1", "conv1", "time_emb_proj", "norm2", "conv2"))
    yield base


def transformer(base, depth):
    yield from (f"{base}.norm", f"{base}.proj_in")
    for block in range(depth):
        inner = f"{base}.transformer_blocks.{block}"
        for part in (
            "norm1",
            "attn1.to_q",
            "attn1.to_k",
            "attn1.to_v",
            "attn1.to_out.0",
            "attn1",
            "norm2",
            "attn2.to_q",
            "attn2",
            "norm3",
            "ff.net.0",
            "ff",
        ):
            yield f"{inner}.{part}"
        yield inner
    yield from (f"{base}.proj_out", base)


def unet(depth):
    yield from ("unet.time_proj", "unet.time_embedding", "unet.add_embedding", "unet.conv_in")
    for side, blocks in (("down_blocks", 3), ("mid_block", 1), ("up_blocks", 3)):
        for block in range(blocks):
            base = f"unet.{side}" + ("" if side == "mid_block" else f".{block}")
            for index in range(2):
                yield from resnet(f"{base}.resnets.{index}")
                if not (side == "down_blocks" and block == 0):
                    yield from transformer(f"{base}.attentions.{index}", depth)
            yield base
    yield from ("unet.conv_norm_out", "unet.conv_act", "unet.conv_out", "unet")


def vae():
    for index in range(3):
        yield from resnet(f"vae.decoder.up_blocks.{index}.resnets.0")
        yield f"vae.decoder.up_blocks.{index}"
    yield from ("vae.decoder", "vae.decode")


def places(steps, depth=1):
    """Yield (path, step) in the order of execution."""
    for path in (
        *text_encoder("text_encoder", 2),
        *text_encoder("text_encoder_2", 2),
        "text_encoder_2.text_projection",
        "encode_prompt",
    ):
        yield path, None
    yield from (("scheduler.set_timesteps", None), ("prepare_latents", None))
    for step in range(steps):
        for path in (*unet(depth), "guidance", "scheduler.step"):
            yield path, step
    for path in (*vae(), "postprocess"):
        yield path, None
