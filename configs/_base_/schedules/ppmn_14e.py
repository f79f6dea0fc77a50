# PPMN, Sec. 4.2: Adam at 1e-4, halved every two epochs from the 10th on, 14 epochs.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[10, 12], gamma=0.5, by_epoch=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=14, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
