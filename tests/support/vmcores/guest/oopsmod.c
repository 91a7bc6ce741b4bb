// SPDX-License-Identifier: GPL-2.0
/* An out-of-tree module, as DKMS would build one, that oopses when something is written to /proc/oopsmod. */
#include <linux/module.h>
#include <linux/proc_fs.h>

struct oopsmod_victim {
	int magic;
	struct oopsmod_victim *next;
	char tag[16];
};

static struct oopsmod_victim oopsmod_root = { .magic = 0x48324832, .next = NULL, .tag = "oops-root" };

static noinline int oopsmod_inner(struct oopsmod_victim *victim, size_t size)
{
	/* A function that always prints is a cold one: it would lie in .text.unlikely, where crash finds no lines. */
	if (size > 100)
		pr_emerg("oopsmod: about to dereference next of %s\n", victim->tag);
	return victim->next->magic;
}

static noinline int oopsmod_outer(struct oopsmod_victim *victim, size_t size)
{
	int read = oopsmod_inner(victim, size);

	barrier();
	return read + victim->magic;
}

static ssize_t oopsmod_write(struct file *file, const char __user *buffer, size_t size, loff_t *offset)
{
	return oopsmod_outer(&oopsmod_root, size) ? size : -EINVAL;
}

static const struct proc_ops oopsmod_ops = { .proc_write = oopsmod_write };

static int __init oopsmod_init(void)
{
	if (!proc_create("oopsmod", 0200, NULL, &oopsmod_ops))
		return -ENOMEM;
	pr_info("oopsmod: loaded\n");
	return 0;
}

static void __exit oopsmod_exit(void)
{
	remove_proc_entry("oopsmod", NULL);
}

module_init(oopsmod_init);
module_exit(oopsmod_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("oops on demand");
MODULE_VERSION("1.2.3");
