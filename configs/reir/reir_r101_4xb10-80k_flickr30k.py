_base_ = ['../_base_/models/reir_r101.py']
