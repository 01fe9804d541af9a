"""Vanilla fine-tuning of the UNet: the public DDPM recipe, with the original's flags and configurations.

    python -m mindone_sdxl.train --config sdxl-base-1.0/ --data_path photographs/ --save_path runs/

`recipe` holds what decides the numbers, `draws` what is random, `objective` the loss, `step` one update of the weights;
`data` and `cache` give the batches, `state` keeps a run so that it can go on, `run` puts them together.
"""
