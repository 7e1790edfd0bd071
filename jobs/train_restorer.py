"""Trains the embedded restorer."""
import argparse
from pathlib import Path
import torch
from qrefine.models.restorer_net import ARCHITECTURE, RestorerNet
from qrefine.models.weights import save_weights
from qrefine.training.loop import Run, train
from qrefine.training.restoring import RestorerSamples, restorer_loss
from qrefine.training.photos import load_photos
p=argparse.ArgumentParser();p.add_argument('--photos',action='append',default=[]);p.add_argument('--minutes',type=float);p.add_argument('--steps',type=int);p.add_argument('--seed',type=int,default=0);p.add_argument('--out',type=Path);p.add_argument('--resume',action='store_true');p.add_argument('--batch',type=int,default=12)
a=p.parse_args()
ph=load_photos(a.photos,176)
torch.manual_seed(a.seed)
net=RestorerNet().to(memory_format=torch.channels_last)
avg,st=train(net,restorer_loss,RestorerSamples(ph.images,a.seed),Run(a.steps,a.minutes,batch=a.batch,rate=6e-4,seed=a.seed),a.out.with_suffix('.checkpoint'),a.resume)
save_weights(avg,a.out,ARCHITECTURE,{'steps':str(st.step)})
