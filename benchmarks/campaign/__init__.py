"""What `healthy_campaign.py` is made of: cases, single blocks of SDXL in both frameworks, faults, and workers."""
