"""All that is known of torch and of MindSpore; import a module of it in the process of its framework alone."""
